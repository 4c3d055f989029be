"""Measurements of idle connections: the cost of a device that is online and silent, and its effect on others."""

import asyncio
import resource
import secrets
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError
from bench.registry.provisioning import ProvisionRequest, Status
from bench.registry.registry import Registry
from benchmarks import processes
from benchmarks.records import with_registry
from benchmarks.report import Aim, Figure, Section

AT_ONCE = 200
SAMPLE = 1000
TALKING = (1, 50)
_AIMED_AT = 10_000
_AIM = Aim(limit=500)
_MB = 1e6
_SPARE_FILES = 500  # of server and client, for all that is not a device's connection
_PATIENCE_S = 60.0
_PATIENCE_S_PER_DEVICE = 0.05


def measure(connections: int, step: Callable[[str], None]) -> list[Section]:
    """Connect devices to a server that knows them, and measure its memory and its answers.

    Args:
        connections: The number of devices; fewer connect if server or client may not open as many files.
        step: Called with the name of each step before it.

    Returns:
        A table of the server's memory, and one of latencies.

    Raises:
        BenchError: The server failed, or a device was refused or lost its connection.
    """
    with processes.data_folder() as data:
        step(f"provisioning {connections:,} devices")
        tokens = [secrets.token_hex(16) for _ in range(connections)]
        with_registry(data, lambda registry: _provision(registry, tokens), create=True)
        with processes.real_server(data) as server:
            allowed = min(_open_files(server.pid), resource.getrlimit(resource.RLIMIT_NOFILE)[1]) - _SPARE_FILES
            tokens = tokens[:allowed]
            job = {
                "port": server.ports["mqtt"],
                "pid": server.pid,
                "tokens": tokens,
                "at_once": AT_ONCE,
                "sample": SAMPLE,
                "talking": TALKING,
            }
            patience_s = _PATIENCE_S + len(tokens) * _PATIENCE_S_PER_DEVICE
            found = processes.client("crowd", job, patience_s=patience_s, step=step)
    before, after = found["rss_before"], found["rss_with"]
    note = ""
    if len(tokens) < connections:
        note = f"{connections:,} were asked for, but server or client may open only {allowed + _SPARE_FILES:,} files"
    memory = Section(name="idle", title=f"{len(tokens):,} idle devices over MQTT", note=note)
    memory.rows["memory"] = [
        Figure(name="devices", value=len(tokens), unit="count"),
        Figure(name="logins", value=found["others"] / found["log_in_s"], unit=f"1/s, {AT_ONCE} at once"),
        Figure(name="server, one device", value=None if before is None else before / _MB, unit="MB resident"),
        Figure(
            name="server, all devices",
            value=None if after is None else after / _MB,
            unit="MB resident",
            aim=_AIM if len(tokens) == _AIMED_AT else None,
        ),
        Figure(
            name="each device",
            value=None if before is None or after is None else round((after - before) / found["others"]),
            unit="bytes",
        ),
    ]
    latency = Section(
        name="idle_latency", title=f"Answers while {len(tokens):,} devices are connected, a sample of them", matrix=True
    )
    for name, shown in (("ping", "PINGREQ to PINGRESP"), ("telemetry", "telemetry, QoS 1, to PUBACK")):
        for at_once in TALKING:
            talk = found["talks"][f"{name} {at_once}"]
            latency.rows[f"{shown}, {'one' if at_once == 1 else at_once} at a time"] = [
                Figure(name="p50", value=talk["p50_ms"], unit="ms"),
                Figure(name="p99", value=talk["p99_ms"], unit="ms"),
            ]
    return [memory, latency]


async def _provision(registry: Registry, tokens: list[str]) -> None:
    """Make the records that so many requests at once would make, without the packets."""
    await registry.ensure_default_profile()
    profile = await registry.profile("default")
    key, secret = profile.provision_key or "", profile.provision_secret or ""
    outcomes = await asyncio.gather(
        *(
            registry.provision(ProvisionRequest(key=key, secret=secret, device_name=f"idle-{number}", token=token))
            for number, token in enumerate(tokens)
        )
    )
    if not all(each.status is Status.SUCCESS for each in outcomes):
        raise BenchError("a device for the idle connections was not provisioned; that is a defect of the registry")


def _open_files(pid: int) -> int:
    """Return the limit of a process on open files; without /proc, the limit that a child of this process inherits."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    value = next(line for line in lines if line.startswith("Max open files")).split()[3]
    return 1 << 30 if value == "unlimited" else int(value)
