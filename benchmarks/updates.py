"""Measurement of downloads over the air, and of boards that provision meanwhile."""

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy.orm import Session

from bench import paths
from bench.errors import BenchError
from bench.registry import credentials, devices, packages, profiles
from bench.registry.checksums import Algorithm
from bench.registry.files import PACKAGES_FOLDER
from bench.registry.packages import Kind, Upload
from bench.registry.registry import Registry
from benchmarks import processes, server
from benchmarks.processes import Endpoint
from benchmarks.records import with_registry
from benchmarks.report import Aim, Figure, Section

SIZE = 60 << 10
DEVICES = 1000
PARTS = (512, 4096)
BOARDS = 10
_THINGSBOARD = 100
_RATE_AIM = Aim(limit=_THINGSBOARD, at_least=True)
_SHARE_AIM = Aim(limit=50, at_least=True)
_PATIENCE_S = 120.0


def measure(seconds: float, step: Callable[[str], None]) -> list[Section]:
    """Have 1,000 devices fetch a package at once, alone and beside boards that provision.

    Args:
        seconds: The duration of each.
        step: Called with the name of each step before it.

    Returns:
        A table of downloads, and one of provisioning beside them.

    Raises:
        BenchError: The server or a client failed.
    """
    downloads = Section(
        name="downloads",
        title=f"{DEVICES:,} devices that fetch {SIZE >> 10} KB at once over MQTT",
        note=f"ThingsBoard documents {_THINGSBOARD} devices a minute",
        matrix=True,
    )
    beside = Section(
        name="provisioning_beside", title=f"{BOARDS} boards that provision over MQTT meanwhile", matrix=True
    )
    step("provisioning alone")
    with _server() as (endpoint, _):
        alone = server.load(endpoint, "mqtt", BOARDS, seconds, echo=True)
    beside.rows["alone"] = _provisioning(alone, alone)
    for part in PARTS:
        step(f"parts of {part:,} bytes")
        with _server() as (endpoint, tokens):
            found = processes.client("fetches", _job(endpoint, tokens, part, seconds), patience_s=_PATIENCE_S)
        downloads.rows[f"{part:,} B"] = _downloads(found)
        step(f"parts of {part:,} bytes, and provisioning")
        long_s = seconds + server.WARM_UP_S + 1
        with _server() as (endpoint, tokens), _Fetching(_job(endpoint, tokens, part, long_s)) as fetching:
            found = server.load(endpoint, "mqtt", BOARDS, seconds, echo=True)
        downloads.rows[f"{part:,} B, provisioning beside"] = _downloads(fetching.found)
        beside.rows[f"beside {part:,} B"] = _provisioning(found, alone)
    return [downloads, beside]


@contextmanager
def _server() -> Iterator[tuple[Endpoint, list[str]]]:
    """Run a server with devices that are assigned a package; yields it, and their tokens."""
    tokens = [secrets.token_hex(16) for _ in range(DEVICES)]
    with processes.data_folder() as data:
        with_registry(data, lambda registry: _prepare(registry, data, tokens), create=True)
        with processes.real_server(data) as endpoint:
            yield endpoint, tokens


def _job(endpoint: Endpoint, tokens: list[str], part: int, seconds: float) -> dict[str, Any]:
    return {
        "port": endpoint.ports["mqtt"],
        "pid": endpoint.pid,
        "tokens": tokens,
        "part": part,
        "size": SIZE,
        "seconds": seconds,
    }


def _downloads(found: dict[str, Any]) -> list[Figure]:
    cpu = found["server_cpu_s"]
    return [
        Figure(name="devices", value=60 * found["packages"] / found["seconds"], unit="1/min", aim=_RATE_AIM),
        Figure(name="parts", value=found["parts"] / found["seconds"], unit="1/s"),
        Figure(name="p50", value=found["p50_ms"], unit="ms"),
        Figure(name="p99", value=found["p99_ms"], unit="ms"),
        Figure(name="fewest : most", value=found["fewest"] / max(1, found["most"]), unit="parts of a device"),
        Figure(name="server CPU time", value=None if cpu is None else 1e6 * cpu / found["parts"], unit="µs a part"),
    ]


def _provisioning(found: dict[str, Any], alone: dict[str, Any]) -> list[Figure]:
    share = 100 * server.rate(found) / server.rate(alone)
    return [
        Figure(name="exchanges", value=server.rate(found), unit="1/s"),
        Figure(name="of alone", value=share, unit="%", aim=None if found is alone else _SHARE_AIM),
        Figure(name="p50", value=found["p50_ms"], unit="ms"),
        Figure(name="p99", value=found["p99_ms"], unit="ms"),
    ]


class _Fetching:
    """Devices that fetch from when they are ready until they are through."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.found: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_PATIENCE_S) or not self._thread.is_alive():
            raise BenchError("the devices that fetch did not begin")
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if not self.found:
            raise BenchError("the devices that fetch failed")

    def _run(self) -> None:
        try:
            self.found = processes.client(
                "fetches", self._job, patience_s=_PATIENCE_S, step=lambda _: self._ready.set()
            )
        finally:
            self._ready.set()


async def _prepare(registry: Registry, data: Path, tokens: list[str]) -> None:
    """Make a package, and devices that are assigned it and notified of it."""
    content = secrets.token_bytes(SIZE)
    digest = hashlib.sha256(content).hexdigest()
    (paths.private_folder(data / PACKAGES_FOLDER) / digest).write_bytes(content)
    upload = Upload(
        file_name="benchmark.bin",
        content_type="application/octet-stream",
        size=SIZE,
        algorithm=Algorithm.SHA256,
        checksum=digest,
        digest=digest,
    )

    def make(session: Session) -> None:
        package = packages.create(session, Kind.FIRMWARE, "benchmark", "1.0.0")
        packages.set_content(session, package, upload)
        profile = profiles.by_name(session, profiles.DEFAULT)
        made = [
            devices.create(session, f"fetch-{number}", profile, own=credentials.access_token(token))
            for number, token in enumerate(tokens)
        ]
        for each in made:
            each.firmware_id = package.id
        packages.notify_devices(session, [each.id for each in made])

    await registry.ensure_default_profile()
    await registry.write(make)
