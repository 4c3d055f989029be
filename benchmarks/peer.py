"""Measurements of the server beside a peer: an amqtt broker whose plugin answers with a constant (broker.py)."""

from collections.abc import Callable

from benchmarks import processes, server
from benchmarks.report import Aim, Figure, Section

_AIM = Aim(limit=3, at_least=True)


def measure(seconds: float, step: Callable[[str], None]) -> list[Section]:
    """Put the same load on both, one directly after the other.

    Args:
        seconds: The duration of each load.
        step: Called with the name of each step before it.

    Returns:
        One table, with a row for each number of boards.

    Raises:
        BenchError: An exchange failed with either, or amqtt is not installed.
    """
    section = Section(
        name="peer",
        title="Provisioning over MQTT, bench serve and an amqtt broker that answers a constant",
        matrix=True,
    )
    for boards in server.MQTT_BOARDS:
        name = server.counted(boards)
        step(f"{name}, against bench serve")
        real = server.exchanges("mqtt", boards, seconds)
        step(f"{name}, against amqtt")
        with processes.amqtt_broker() as endpoint:
            amqtt = server.load(endpoint, "mqtt", boards, seconds)
        ratio = server.rate(real) / server.rate(amqtt)
        section.rows[name] = [
            Figure(name="real", value=server.rate(real), unit="1/s"),
            Figure(name="amqtt", value=server.rate(amqtt), unit="1/s"),
            Figure(name="real : amqtt", value=ratio, unit="ratio", aim=_AIM),
            Figure(name="real p99", value=real["p99_ms"], unit="ms"),
            Figure(name="amqtt p99", value=amqtt["p99_ms"], unit="ms"),
            Figure(name="real CPU time", value=server.cpu_time(real), unit="µs/exchange"),
            Figure(name="amqtt CPU time", value=server.cpu_time(amqtt), unit="µs/exchange"),
        ]
    return [section]
