"""Power cuts at every write to the flash, one after the other."""

from collections.abc import Iterator
from typing import Any

import pytest

from bench.virtual.environment import Cut
from bench.virtual.power import PowerCycle, PowerLost

MODES = [pytest.param(False, id="before"), pytest.param(True, id="torn")]


def cuts(torn: bool) -> Iterator[Cut]:
    """Yield a cut at each write in turn; the caller stops when one is not reached any more."""
    for at in range(1000):
        yield Cut(at=at, torn=torn)
    raise AssertionError("it never completes")


def loses_power_before(power: PowerCycle, *events: str, **fields: Any) -> bool:
    """Wait for these events, the first with these fields; return whether the cut came before the last of them."""
    try:
        for number, event in enumerate(events):
            power.expect_event(event, **(fields if number == 0 else {}))
    except PowerLost:
        assert power.writes[-1]["cut"], "the board died of something else"
        return True
    return False
