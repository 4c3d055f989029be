"""The record of one device of a fleet: the steps it reached and when, its attempts, the reason of its failure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.contract.events import MILESTONES

_OF_FIRST_BOOTS = ("boot", "key_made", "pending_stored")
STEPS = tuple(each for each in MILESTONES if each not in _OF_FIRST_BOOTS)
"""Milestones of every way to online, a first boot or not. A light device does not have `link_up`."""


@dataclass(kw_only=True)
class Lap:
    """One way to online. Its moments are seconds by `time.monotonic`."""

    from_s: float
    """The moment at which it began; events from before belong to the lap before."""
    since_s: float
    """The moment from which its times count: the power-on, or the return of the server."""
    attempts: int = 1
    moments: dict[str, float] = field(default_factory=dict)
    """The moment at which each of STEPS was done, of those that were."""

    @property
    def online(self) -> bool:
        """True once it is over: the server acknowledged telemetry."""
        return "telemetry" in self.moments

    def counts(self, step: str) -> bool:
        """Return whether a step that is done now counts: it is one of STEPS, and done for the first time in this lap.

        Telemetry counts only on a connection of this lap.
        """
        return step in STEPS and step not in self.moments and (step != "telemetry" or "connected" in self.moments)

    def took_s(self, step: str) -> float | None:
        """Return the seconds until a step was done, never less than 0; None if it was not done."""
        moment = self.moments.get(step)
        return None if moment is None else max(moment - self.since_s, 0.0)


@dataclass(kw_only=True)
class Life:
    """The record of one device."""

    name: str
    laps: list[Lap] = field(default_factory=list)
    """Its way to online, and its way back after its server was away; empty before its power-on."""
    error: str = ""
    """The reason why it is not online; empty as long as it may get there."""
    last: str = "nothing"
    """Its last event, for the error."""
    own_ms: dict[str, int] = field(default_factory=dict)
    """Milliseconds at each step of its first way to online, by its own clock, which begins with its firmware.

    Boards only.
    """
    cpu_s: float | None = None
    """CPU time of its first way to online, in seconds; boards only."""
    waited_s: float | None = None
    """Time for which it was ready to run then, but had to wait for a CPU, in seconds; boards only."""

    @property
    def settled(self) -> bool:
        """True if it is online or failed: nothing more is waited for."""
        return bool(self.error) or (bool(self.laps) and self.laps[-1].online)

    @property
    def provisioned(self) -> bool:
        """True once its first login with its own credentials worked."""
        return bool(self.laps) and "provisioned" in self.laps[0].moments

    def expire(self, now: float, timeout_s: float) -> None:
        """Mark it as failed if its present lap takes too long. No-op if it is settled, or not switched on yet.

        Args:
            now: The present moment by `time.monotonic`.
            timeout_s: The longest duration of a lap, in seconds.
        """
        if not self.settled and self.laps and now - self.laps[-1].since_s > timeout_s:
            self.error = f"not online within {timeout_s:g} s, last heard: {self.last}"

    def begin(self, moment: float) -> None:
        """Begin its first lap: it is switched on at this moment (`time.monotonic`)."""
        self.laps.append(Lap(from_s=moment, since_s=moment))

    def lose_server(self, moment: float) -> None:
        """Begin the lap back: its server goes away at this moment. No-op if it failed."""
        if not self.error:
            self.laps.append(Lap(from_s=moment, since_s=moment, attempts=0))

    def find_server(self, moment: float) -> None:
        """Count the times of the lap back from this moment: its server is there again. No-op if it failed."""
        if not self.error:
            self.laps[-1].since_s = moment


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The numbers of devices that are on, online and failed. `back`: they are on their way back to the server."""

    on: int
    online: int
    failed: int
    back: bool

    @classmethod
    def of(cls, lives: Iterable[Life], *, back: bool) -> "Progress":
        """Count the devices as they are now."""
        lives = list(lives)
        failed = sum(bool(each.error) for each in lives)
        return cls(
            on=sum(bool(each.laps) for each in lives),
            online=sum(each.settled for each in lives) - failed,
            failed=failed,
            back=back,
        )


OnProgress = Callable[[Progress], None]
"""Called with the progress of a fleet."""
Restart = Callable[[], None]
"""Restarts the server, and returns when it listens again."""
