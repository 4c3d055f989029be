"""Measurements of the server: provisioning exchanges, each with a durable commit, beside an endpoint without any."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from benchmarks import processes
from benchmarks.processes import Endpoint
from benchmarks.records import with_registry
from benchmarks.report import Aim, Figure, Section

BOARDS = (1, 10, 100)
MQTT_BOARDS = (*BOARDS, 200)
WARM_UP_S = 0.5
_FSYNC_BYTES = 4096
_FSYNC_FILE_BLOCKS = 256
_FSYNC_S = 1.0
_PATIENCE_S = 30.0  # beyond the duration of a load
_SHOWN = {"mqtt": "MQTT", "mqtts": "MQTT and TLS", "http": "HTTP", "https": "HTTPS", "coap": "CoAP"}
# By transport and number of boards.
_RATE_AIMS = {
    ("mqtt", boards): Aim(limit=limit, at_least=True)
    for boards, limit in ((1, 1500), (10, 2500), (100, 4000), (200, 4000))
}
_P99_AIMS = {("mqtt", 200): Aim(limit=250)}


def measure(seconds: float, step: Callable[[str], None]) -> list[Section]:
    """Measure each transport that is served, at each number of boards.

    Args:
        seconds: The duration of each load.
        step: Called with the name of each step before it.

    Returns:
        A table of the disk, and one for each transport.

    Raises:
        BenchError: An exchange failed, or the registry does not have as many devices as boards got SUCCESS.
    """
    step("fsync of the disk, and commits of SQLite")
    with processes.data_folder() as folder:
        fsyncs, commits = fsyncs_per_s(folder), commits_per_s(folder)
    sections = [
        Section(
            name="disk",
            title="Disk",
            rows={
                "disk": [
                    Figure(name="write and fsync of 4 KiB", value=fsyncs, unit="1/s"),
                    Figure(name="commit of a row in SQLite", value=commits, unit="1/s"),
                ]
            },
        )
    ]
    for transport in _served(step):
        shown = _SHOWN[transport]
        section = Section(name=transport, title=f"Provisioning over {shown}, a durable commit each", matrix=True)
        for boards in MQTT_BOARDS if transport == "mqtt" else BOARDS:
            name = counted(boards)
            step(f"{shown}, {name}, against bench serve")
            real = exchanges(transport, boards, seconds)
            step(f"{shown}, {name}, against the bare endpoint")
            with processes.data_folder() as folder, processes.bare_endpoint(folder) as endpoint:
                bare = load(endpoint, transport, boards, seconds)
            section.rows[name] = _figures(
                real, bare, commits, _RATE_AIMS.get((transport, boards)), _P99_AIMS.get((transport, boards))
            )
        sections.append(section)
    return sections


def counted(boards: int) -> str:
    """Return `1 board`, `10 boards`, ..."""
    return f"{boards} board{'s' if boards > 1 else ''}"


def _served(step: Callable[[str], None]) -> list[str]:
    """Return the transports that bench serve offers."""
    step("what bench serve serves")
    with processes.data_folder() as data, processes.real_server(data) as endpoint:
        return list(endpoint.ports)


def fsyncs_per_s(folder: Path) -> float:
    """Measure the rate, in 1/s, at which the disk under `folder` makes 4 KiB durable, one after the other."""
    block = b"\xa5" * _FSYNC_BYTES
    descriptor = os.open(folder / "fsync", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        count = 0
        start = time.perf_counter()
        while (took := time.perf_counter() - start) < _FSYNC_S:
            os.pwrite(descriptor, block, count % _FSYNC_FILE_BLOCKS * _FSYNC_BYTES)
            os.fsync(descriptor)
            count += 1
    finally:
        os.close(descriptor)
    return count / took


def commits_per_s(folder: Path) -> float:
    """Measure the rate, in 1/s, at which SQLite commits a row as durably as the registry does, one after the other."""
    with closing(sqlite3.connect(folder / "commits", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE device (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        count = 0
        start = time.perf_counter()
        while (took := time.perf_counter() - start) < _FSYNC_S:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO device (name) VALUES (?)", (f"device-{count}",))
            connection.execute("COMMIT")
            count += 1
    return count / took


def exchanges(transport: str, boards: int, seconds: float) -> dict[str, Any]:
    """Run the load client on a new bench serve, and check its registry afterwards.

    Args:
        transport: One of processes.TRANSPORTS.
        boards: The number of boards at once.
        seconds: The duration of the measurement, after the warm-up.

    Returns:
        The result of `load.Load.run`.

    Raises:
        BenchError: An exchange failed, or the registry does not have as many devices as boards got SUCCESS.
    """
    with processes.data_folder() as data:
        with processes.real_server(data) as endpoint:
            found = load(endpoint, transport, boards, seconds, echo=True)
        devices = len(with_registry(data, lambda registry: registry.devices()))
    if devices != found["successes"]:
        raise BenchError(
            f"{transport} with {counted(boards)}: {found['successes']} answers with SUCCESS, "
            f"but the registry has {devices} devices; that is a defect of the server"
        )
    return found


def load(endpoint: Endpoint, transport: str, boards: int, seconds: float, *, echo: bool = False) -> dict[str, Any]:
    """Run the load client.

    Args:
        endpoint: The server.
        transport: One of processes.TRANSPORTS that it serves.
        boards: The number of boards at once.
        seconds: The duration of the measurement, after the warm-up.
        echo: Require the requested token in the answers.

    Returns:
        The result of `load.Load.run`.

    Raises:
        BenchError: The client or an exchange failed, or no exchange ended in the measurement.
    """
    job = {
        "transport": transport,
        "port": endpoint.ports[transport],
        "ca": endpoint.ca,
        "boards": boards,
        "warm_up_s": WARM_UP_S,
        "seconds": seconds,
        "echo": echo,
        "pid": endpoint.pid,
        "key": endpoint.key,
        "secret": endpoint.secret,
    }
    found = processes.client("load", job, patience_s=WARM_UP_S + seconds + _PATIENCE_S)
    if found["failures"] or not found["exchanges"]:
        raise BenchError(f"{transport} with {counted(boards)}: exchanges failed: {found['failures'] or 'none ended'}")
    return found


def rate(found: dict[str, Any]) -> float:
    """Return the exchanges a second in a result of `load`."""
    return float(found["exchanges"] / found["seconds"])


def cpu_time(found: dict[str, Any]) -> float | None:
    """Return the server's CPU time for an exchange in a result of `load`, in µs; None if unknown."""
    return None if found["server_cpu_s"] is None else 1e6 * found["server_cpu_s"] / found["exchanges"]


def _figures(
    real: dict[str, Any], bare: dict[str, Any], commits: float, rate_aim: Aim | None, p99_aim: Aim | None
) -> list[Figure]:
    return [
        Figure(name="exchanges", value=rate(real), unit="1/s", aim=rate_aim),
        Figure(name="p50", value=real["p50_ms"], unit="ms"),
        Figure(name="p99", value=real["p99_ms"], unit="ms", aim=p99_aim),
        Figure(name="server CPU", value=_share(real, "server_cpu_s"), unit="% of a core"),
        Figure(name="client CPU", value=_share(real, "client_cpu_s"), unit="% of a core"),
        Figure(name="server CPU time", value=cpu_time(real), unit="µs/exchange"),
        Figure(name="bare", value=rate(bare), unit="1/s"),
        Figure(name="bare CPU time", value=cpu_time(bare), unit="µs/exchange"),
        Figure(name="real : bare", value=rate(real) / rate(bare), unit="ratio"),
        Figure(name="exchanges : commits", value=rate(real) / commits, unit="ratio"),
    ]


def _share(found: dict[str, Any], key: str) -> float | None:
    return None if found[key] is None else 100 * found[key] / found["seconds"]
