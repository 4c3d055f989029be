"""Retention while the server runs: what is beyond its age or size is deleted now and then."""

import asyncio
import time
from dataclasses import asdict

from bench.registry import pruning
from bench.registry.clock import now_ms
from bench.registry.registry import Registry
from bench.registry.retention import Retention
from bench.server.journal import Journal
from bench.server.metrics import ServerMetrics

# Boards that log in after a restart come first.
_FIRST_S = 60.0


async def run(registry: Registry, rules: Retention, journal: Journal, metrics: ServerMetrics) -> None:
    """Prune until cancelled. What was deleted is an event, and counted; a failure is an event, and tried again."""
    pause_s = min(_FIRST_S, rules.every_s)
    while True:
        await asyncio.sleep(pause_s)
        pause_s = rules.every_s
        start = time.monotonic()
        try:
            pruned = await pruning.prune(registry, rules, now_ms())
        except Exception as error:  # noqa: BLE001 - whatever it was, the server goes on
            journal.failure(error, what="prune")
            continue
        numbers = asdict(pruned)
        for what, number in numbers.items():
            metrics.pruned(what, number)
        if any(numbers.values()):
            journal.write("pruned", **numbers, took_ms=int((time.monotonic() - start) * 1000))
