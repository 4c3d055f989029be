"""The server: provisioning exchanges a second, each with a durable commit, beside an endpoint without any."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cli.records import with_registry
from bench.errors import BenchError
from benchmarks import processes
from benchmarks.processes import Endpoint
from benchmarks.report import Aim, Figure, Section

TRANSPORTS = ("mqtt", "http")
BOARDS = (1, 10, 100)
WARM_UP_S = 0.5
_FSYNC_BYTES = 4096
_FSYNC_FILE_BLOCKS = 256
_FSYNC_S = 1.0
_PATIENCE_S = 30.0  # beyond the duration of a load
_RATE_AIM = Aim(limit=1000, at_least=True)


def measure(seconds: float, step: Callable[[str], None]) -> list[Section]:
    """Measure each transport at each number of boards, for `seconds` each. `step` is told what comes next.

    Raises BenchError if an exchange failed, or if the registry does not hold exactly the devices
    whose boards were told SUCCESS.
    """
    step("fsync of the disk")
    with processes.data_folder() as folder:
        fsyncs = fsyncs_per_s(folder)
    sections = [
        Section(
            name="disk",
            title="Disk",
            rows={"disk": [Figure(name="write and fsync of 4 KiB", value=fsyncs, unit="1/s")]},
        )
    ]
    for transport in TRANSPORTS:
        section = Section(
            name=transport, title=f"Provisioning over {transport.upper()}, a durable commit each", matrix=True
        )
        for boards in BOARDS:
            name = f"{boards} board{'s' if boards > 1 else ''}"
            step(f"{transport.upper()}, {name}, against bench serve")
            real = _real(transport, boards, seconds)
            step(f"{transport.upper()}, {name}, against the bare endpoint")
            bare = _bare(transport, boards, seconds)
            aim = _RATE_AIM if (transport, boards) == ("mqtt", max(BOARDS)) else None
            section.rows[name] = _figures(real, bare, fsyncs, aim)
        sections.append(section)
    return sections


def fsyncs_per_s(folder: Path) -> float:
    """How often a second the disk under `folder` makes 4 KiB durable, one after the other."""
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


def _real(transport: str, boards: int, seconds: float) -> dict[str, Any]:
    with processes.data_folder() as data:
        with processes.real_server(data) as endpoint:
            found = _load(endpoint, transport, boards, seconds, echo=True)
        devices = len(with_registry(data, lambda registry: registry.devices()))
    if devices != found["successes"]:
        raise BenchError(
            f"{transport} with {boards} boards: {found['successes']} answers said SUCCESS, "
            f"but the registry has {devices} devices; that is a defect of the server"
        )
    return found


def _bare(transport: str, boards: int, seconds: float) -> dict[str, Any]:
    with processes.bare_endpoint() as endpoint:
        return _load(endpoint, transport, boards, seconds, echo=False)


def _load(endpoint: Endpoint, transport: str, boards: int, seconds: float, *, echo: bool) -> dict[str, Any]:
    job = {
        "transport": transport,
        "port": endpoint.ports[transport],
        "boards": boards,
        "warm_up_s": WARM_UP_S,
        "seconds": seconds,
        "echo": echo,
        "pid": endpoint.pid,
        "key": endpoint.key,
        "secret": endpoint.secret,
    }
    found = processes.load(job, patience_s=WARM_UP_S + seconds + _PATIENCE_S)
    if found["failures"] or not found["exchanges"]:
        raise BenchError(f"{transport} with {boards} boards: exchanges failed: {found['failures'] or 'none ended'}")
    return found


def _figures(real: dict[str, Any], bare: dict[str, Any], fsyncs: float, aim: Aim | None) -> list[Figure]:
    rate, bare_rate = (each["exchanges"] / each["seconds"] for each in (real, bare))
    return [
        Figure(name="exchanges", value=rate, unit="1/s", aim=aim),
        Figure(name="p50", value=real["p50_ms"], unit="ms"),
        Figure(name="p99", value=real["p99_ms"], unit="ms"),
        Figure(name="server CPU", value=_share(real, "server_cpu_s"), unit="% of a core"),
        Figure(name="client CPU", value=_share(real, "client_cpu_s"), unit="% of a core"),
        Figure(name="server CPU time", value=_per_exchange(real), unit="µs/exchange"),
        Figure(name="bare", value=bare_rate, unit="1/s"),
        Figure(name="bare CPU time", value=_per_exchange(bare), unit="µs/exchange"),
        Figure(name="real : bare", value=rate / bare_rate, unit="ratio"),
        Figure(name="exchanges : fsyncs", value=rate / fsyncs, unit="ratio"),
    ]


def _share(found: dict[str, Any], key: str) -> float | None:
    return None if found[key] is None else 100 * found[key] / found["seconds"]


def _per_exchange(found: dict[str, Any]) -> float | None:
    return None if found["server_cpu_s"] is None else 1e6 * found["server_cpu_s"] / found["exchanges"]
