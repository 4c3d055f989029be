"""Measurement of others' waits while one client misbehaves."""

import secrets
import threading
from collections.abc import Callable
from typing import Any, Self

from bench.errors import BenchError
from bench.registry.registry import Registry
from benchmarks import neighbour, processes
from benchmarks.records import with_registry
from benchmarks.report import Aim, Figure, Section

_AIM = Aim(limit=2)
_PATIENCE_S = 60.0


def measure(seconds: float, step: Callable[[str], None]) -> list[Section]:
    """Measure a board's waits alone, and beside each kind of misbehaviour.

    Args:
        seconds: The duration of each.
        step: Called with the name of each step before it.

    Returns:
        A table with a row for each kind.

    Raises:
        BenchError: The server or a client failed.
    """
    section = Section(name="neighbours", title="Others' logins and values while one misbehaves", matrix=True)
    for kind in ("", *neighbour.KINDS):
        step(f"others beside {kind or 'nobody'}")
        alone, beside, done = _waits(kind, seconds)
        section.rows[kind or "nobody"] = [
            Figure(name="p50 alone", value=alone["p50"], unit="ms"),
            Figure(name="p50", value=beside["p50"], unit="ms"),
            Figure(name="p99 alone", value=alone["p99"], unit="ms"),
            Figure(name="p99", value=beside["p99"], unit="ms"),
            Figure(name="p99 : alone", value=beside["p99"] / alone["p99"], unit="ratio", aim=_AIM if kind else None),
            Figure(name="done by the one", value=done, unit="count"),
        ]
    return [section]


def _waits(kind: str, seconds: float) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the waits alone and beside, on one server, and how much the other one did."""
    good, bad = secrets.token_hex(16), secrets.token_hex(16)
    with processes.data_folder() as data:
        with_registry(data, lambda registry: _devices(registry, good, bad), create=True)
        with processes.real_server(data, limits=True) as server:
            job = {
                "ports": server.ports,
                "ca": server.ca,
                "token": good,
                "bad_token": bad,
                "seconds": seconds,
                "kind": "",
            }
            alone = processes.client("neighbour", job, patience_s=_PATIENCE_S + seconds)
            if not kind:
                return alone, processes.client("neighbour", job, patience_s=_PATIENCE_S + seconds), 0
            with _Beside({**job, "kind": kind, "seconds": 2 * seconds}) as other:
                beside = processes.client("neighbour", job, patience_s=_PATIENCE_S + seconds)
            return alone, beside, other.found["done"]


class _Beside:
    """The client that misbehaves, from when it is ready until it has done."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.found: dict[str, Any] = {"done": 0}

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_PATIENCE_S):
            raise BenchError("the client that misbehaves did not begin")
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        patience_s = _PATIENCE_S + self._job["seconds"]
        try:
            self.found = processes.client(
                "neighbour", self._job, patience_s=patience_s, step=lambda _: self._ready.set()
            )
        finally:
            self._ready.set()


async def _devices(registry: Registry, *tokens: str) -> None:
    await registry.ensure_default_profile()
    for token in tokens:
        await registry.create_device(f"device-{token[:6]}", "default", token=token)
