"""Figures of a fleet, as JSON of a shape that scripts can rely on (docs/fleet.md)."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from bench.load.life import STEPS, Life
from bench.load.statistics import Summary

_DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A fleet's devices in its server's registry."""

    names: Sequence[str]
    made_ms: Sequence[int]
    """The times at which they were made, in ms since 1970."""

    @classmethod
    def of(cls, devices: Sequence[dict[str, Any]]) -> Self:
        """Return names and times of devices in ThingsBoard's JSON form, with `name` and `createdTime`."""
        return cls(names=[each["name"] for each in devices], made_ms=[each["createdTime"] for each in devices])

    @property
    def per_s(self) -> float | None:
        """Devices made a second, from the first to the last; None if there is no time between them."""
        took_ms = max(self.made_ms) - min(self.made_ms) if self.made_ms else 0
        return (len(self.made_ms) - 1) * 1000 / took_ms if took_ms else None


def good(lives: Sequence[Life], registered: Registered | None) -> bool:
    """Return whether all devices came online, and the server has each exactly once.

    Args:
        lives: The devices.
        registered: The devices that the server has; None if that is unknown, which is not good.
    """
    return (
        all(each.settled and not each.error for each in lives)
        and registered is not None
        and sorted(registered.names) == sorted(each.name for each in lives)
    )


def figures(lives: Sequence[Life], registered: Registered | None) -> dict[str, Any]:
    """Return the figures of a fleet.

    Args:
        lives: The devices.
        registered: The devices that the server has; None if that is unknown.

    Returns:
        JSON values, as docs/fleet.md describes them. Times are in seconds; an unknown figure is None.
    """
    return {
        "provisioned": sum(each.provisioned for each in lives),
        "online": sum(each.settled and not each.error for each in lives),
        "failed": [{"name": each.name, "reason": each.error} for each in lives if each.error],
        "switched_on_within_s": _switched_on_within_s(lives),
        "attempts": _attempts(lives, 0),
        "from_power_on_s": _steps(lives, lambda life, step: life.laps[0].took_s(step) if life.laps else None),
        "by_own_clock_s": _steps(lives, lambda life, step: life.own_ms[step] / 1000 if step in life.own_ms else None),
        "cpu_s": _summary([each.cpu_s for each in lives]),
        "waited_for_cpu_s": _summary([each.waited_s for each in lives]),
        "after_restart_s": _steps(lives, _back_s),
        "attempts_after_restart": _attempts(lives, 1),
        "registry": None
        if registered is None
        else {
            "devices": len(registered.names),
            "exchanges_per_s": None if registered.per_s is None else round(registered.per_s, 1),
        },
    }


def times_s(lives: Sequence[Life], lap: int) -> list[float]:
    """Return the seconds until each device was online in a lap, without those that were not.

    Args:
        lives: The devices.
        lap: 0 for the first boot, 1 for the way back after the server's restart.
    """
    return [
        each.laps[lap].took_s("telemetry") or 0.0 for each in lives if len(each.laps) > lap and each.laps[lap].online
    ]


def reasons(lives: Sequence[Life]) -> Counter[str]:
    """Count the devices that failed, by reason."""
    return Counter(each.error for each in lives if each.error)


def _switched_on_within_s(lives: Sequence[Life]) -> float | None:
    moments = [each.laps[0].since_s for each in lives if each.laps]
    return round(max(moments) - min(moments), _DIGITS) if moments else None


def _back_s(life: Life, step: str) -> float | None:
    """Return the seconds to a step after the server's return. No `link_up`: the link stays up meanwhile."""
    return life.laps[1].took_s(step) if len(life.laps) > 1 and step != "link_up" else None


def _attempts(lives: Sequence[Life], lap: int) -> dict[str, int]:
    """Return the number of devices by the number of their attempts in a lap, of those that are online."""
    counted = Counter(each.laps[lap].attempts for each in lives if len(each.laps) > lap and each.laps[lap].online)
    return {str(attempts): counted[attempts] for attempts in sorted(counted)}


def _steps(lives: Sequence[Life], took_s: Callable[[Life, str], float | None]) -> dict[str, Any]:
    found = {step: _summary([took_s(each, step) for each in lives]) for step in STEPS}
    return {step: values for step, values in found.items() if values}


def _summary(values: Sequence[float | None]) -> dict[str, float] | None:
    found = Summary.of([each for each in values if each is not None])
    return found.rounded(_DIGITS) if found else None
