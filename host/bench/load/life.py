"""What becomes of one device of a fleet: how far it got and when, how often it tried, why it failed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.contract.events import MILESTONES

_OF_FIRST_BOOTS = ("boot", "key_made", "pending_stored")
STEPS = tuple(each for each in MILESTONES if each not in _OF_FIRST_BOOTS)
"""Milestones on any way to online, a first boot or not. A light device has no link."""


@dataclass(kw_only=True)
class Lap:
    """One way to online. Moments are seconds by `time.monotonic`."""

    from_s: float
    """What is of before belongs to the lap before."""
    since_s: float
    """What its times count from: the power-on, or that the server is there again."""
    attempts: int = 1
    moments: dict[str, float] = field(default_factory=dict)

    @property
    def online(self) -> bool:
        """Whether it is over: the server acknowledged telemetry."""
        return "telemetry" in self.moments

    def counts(self, step: str) -> bool:
        """Whether this is the first time that a step is done; telemetry only on a connection of this lap."""
        return step in STEPS and step not in self.moments and (step != "telemetry" or "connected" in self.moments)

    def took_s(self, step: str) -> float | None:
        """Seconds until a step was done; None if it was not. Never less than 0."""
        moment = self.moments.get(step)
        return None if moment is None else max(moment - self.since_s, 0.0)


@dataclass(kw_only=True)
class Life:
    """One device. `laps`: its way to online, and its way back after its server was away."""

    name: str
    laps: list[Lap] = field(default_factory=list)
    error: str = ""
    """Why it is not online; empty as long as it may get there."""
    last: str = "nothing"
    """What was heard of it last."""
    own_ms: dict[str, int] = field(default_factory=dict)
    """Its first way to online by its own clock, which begins with its firmware; boards only."""
    cpu_s: float | None = None
    """CPU time that its first way to online took it; boards only."""
    waited_s: float | None = None
    """For how long it had to wait for a CPU meanwhile; boards only."""

    @property
    def settled(self) -> bool:
        """Whether nothing more is waited for."""
        return bool(self.error) or (bool(self.laps) and self.laps[-1].online)

    @property
    def provisioned(self) -> bool:
        """Whether it has credentials that worked."""
        return bool(self.laps) and "provisioned" in self.laps[0].moments

    def expire(self, now: float, timeout_s: float) -> None:
        """Have it failed if its lap takes longer than that."""
        if not self.settled and self.laps and now - self.laps[-1].since_s > timeout_s:
            self.error = f"not online within {timeout_s:g} s, last heard: {self.last}"

    def begin(self, moment: float) -> None:
        """It is switched on."""
        self.laps.append(Lap(from_s=moment, since_s=moment))

    def lose_server(self, moment: float) -> None:
        """Its server goes away: begin the lap back."""
        if not self.error:
            self.laps.append(Lap(from_s=moment, since_s=moment, attempts=0))

    def find_server(self, moment: float) -> None:
        """Its server is there again."""
        if not self.error:
            self.laps[-1].since_s = moment


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many devices are on, online, failed; `back` is for those that lost their server."""

    on: int
    online: int
    failed: int
    back: bool

    @classmethod
    def of(cls, lives: Iterable[Life], *, back: bool) -> "Progress":
        """The devices as they are now."""
        lives = list(lives)
        failed = sum(bool(each.error) for each in lives)
        return cls(
            on=sum(bool(each.laps) for each in lives),
            online=sum(each.settled for each in lives) - failed,
            failed=failed,
            back=back,
        )


Tell = Callable[[Progress], None]
Restart = Callable[[], None]
"""Stops the server, and returns when it listens again."""
