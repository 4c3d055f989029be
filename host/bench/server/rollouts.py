"""Rollouts while the server runs: their turns, one after the other.

Every server on a database makes turns, and the database decides: see `rollout_turns`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from bench.registry import rollout_turns
from bench.registry.clock import now_ms
from bench.registry.registry import Registry
from bench.registry.rollout_turns import Turned
from bench.server.journal import Journal

# Seconds between two looks while there is a rollout.
_TURN_S = 1.0
# Seconds between two looks for rollouts that another server began, which then drives them: it may have died. Also
# after a failure.
_LOOK_S = 15.0


class Rollouts:
    """Drives rollouts.

    Args:
        registry: Has the rollouts.
        journal: Told how they end.
        on_assigned: Called when a profile has another package.
    """

    def __init__(self, registry: Registry, journal: Journal, on_assigned: Callable[[], None]) -> None:
        self._registry = registry
        self._journal = journal
        self._on_assigned = on_assigned
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Have rollouts looked at now: one was started, resumed or stopped."""
        self._changed.set()

    async def run(self) -> None:
        """Drive rollouts until cancelled. A failure is an event, and tried again."""
        while True:
            self._changed.clear()
            pause_s = _LOOK_S
            try:
                if await self.turn():
                    pause_s = _TURN_S
            except Exception as error:  # noqa: BLE001 - whatever it was, the server goes on
                self._journal.failure(error, what="rollouts")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause_s)

    async def turn(self) -> bool:
        """Make one turn of each rollout in which there is anything to do; return whether there is any rollout."""
        active = await self._registry.read(rollout_turns.active)
        for rollout_id in active:
            candidates = await self._registry.read(rollout_turns.look, rollout_id, now_ms())
            if candidates is not None:
                turned = await self._registry.write(rollout_turns.turn, rollout_id, candidates, now_ms())
                if turned is not None:
                    self._report(turned)
        return bool(active)

    def _report(self, turned: Turned) -> None:
        rollout = str(turned.rollout.id)
        for each in turned.results:  # without causes, which are devices' own texts
            self._journal.write("rollout_result", rollout=rollout, device=each.row.name, result=each.state.value)
        if turned.is_over:
            self._journal.write(f"rollout_{turned.rollout.state}", rollout=rollout)
        if turned.is_whole:
            self._on_assigned()
