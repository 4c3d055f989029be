"""A fleet of virtual boards: each is a process with a flash of its own, and one loop follows all of them."""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import boards, file_limits
from bench.contract.events import FOLLOW_UPS, Event, needs_person
from bench.dut.recorder import POWER_LOST, EventRecorder
from bench.dut.virtual import UnixBoard
from bench.load import usage
from bench.load.life import Lap, Life, OnProgress, Progress, Restart
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions

DEFINITION = "esp32_generic"
FILES_EACH = 7
"""Files that this process has open for each board that is on."""
_SPARE_FILES = 100
# An ESP32 leaves a program about 150 KiB; pointers have twice the size here, and TLS keeps its memory elsewhere there.
_CONDITIONS = Conditions(heap="512k")
# The interval at which all boards are read. It need not be short: times of events come from the boards' own clocks.
_LOOK_S = 0.02
_STARTS = 1000
_SAMPLE_S = 1.0
_MS = 1000
# The time of day at the zero of `time.monotonic`: files have the time of day.
_SINCE_1970_S = time.time() - time.monotonic()

Files = Callable[[boards.BoardDefinition, str], dict[str, bytes]]
"""A function from a definition and a MAC to a board's files besides its firmware, among them settings.json."""


def make(folder: Path, count: int, files: Files, *, seed: int, on_made: Callable[[int], None]) -> list[VirtualBoard]:
    """Make boards that have their firmware and settings, and no credentials yet.

    Consecutive boards with the same files are twins: their flash is made once, and copied.

    Args:
        folder: The folder of the boards' folders, which are named by their MACs.
        count: The number of boards.
        files: The files of each besides its firmware; settings.json has to be among them.
        seed: Decides the boards' MACs.
        on_made: Called after each board, with the number of boards made so far.

    Returns:
        The boards, which are off.

    Raises:
        BenchError: This machine's limit of open files is too low to have all of them on.
        UsageError: There is a board with one of these MACs in the folder already.
    """
    file_limits.require(count * FILES_EACH + _SPARE_FILES, f"{count} boards")
    definition = boards.load(DEFINITION)
    made: list[VirtualBoard] = []
    of_last: dict[str, bytes] = {}
    for mac in macs(count, seed=seed):
        own = files(definition, mac)
        if made and own == of_last:
            made.append(made[-1].twin(folder / mac, mac=mac))
        else:
            of_last = dict(own)
            text = own.pop("settings.json")
            made.append(VirtualBoard.create(folder / mac, board=DEFINITION, mac=mac, settings=text, files=own))
        on_made(len(made))
    return made


def macs(count: int, *, seed: int) -> list[str]:
    """Return different MACs, 12 hex digits each, from the locally administered range (02...), which no factory uses."""
    chance = random.Random(f"macs {seed}")  # noqa: S311 - no secret
    found: dict[str, None] = {}
    while len(found) < count:
        found[f"02{chance.getrandbits(40):010x}"] = None
    return list(found)


class BoardFleet:
    """Virtual boards that are switched on, and followed until each is online or failed."""

    def __init__(self, made: Sequence[VirtualBoard], *, prefix: str, timeout_s: float, leave: bool) -> None:
        """Make a fleet of boards that are off.

        Args:
            made: The boards.
            prefix: The prefix of their device names: a name is `PREFIX-MAC`, by the boards' settings.
            timeout_s: Seconds from power-on, or from the server's return, after which a board counts as failed.
            leave: Switch each board off as soon as it is online, instead of all at the end.
        """
        self._members = [_Member(each, f"{prefix}-{each.mac}") for each in made]
        self._timeout_s = timeout_s
        self._leave = leave
        self._sampled_s = 0.0
        self.memory_bytes: int | None = None
        """The peak memory of all boards together (PSS: shared pages count once); None if it cannot be measured."""

    @property
    def lives(self) -> list[Life]:
        """The record of each board, in their order."""
        return [each.life for each in self._members]

    @property
    def cpu_s(self) -> float | None:
        """CPU time of all boards that are off again, from power-on to power-off, in seconds; None if unknown."""
        used = [each.cpu_s for each in self._members if each.cpu_s is not None]
        return sum(used) if used else None

    def console(self, life: Life) -> Path:
        """Return the file with everything that a device's board ever wrote to its console."""
        return next(each.board.log for each in self._members if each.life is life)

    def run(self, moments: Sequence[float], restart: Restart | None, on_progress: OnProgress) -> None:
        """Switch the boards on and follow them until all are online or failed, then switch them off.

        Args:
            moments: The time of each board's power-on, in seconds from now, in ascending order.
            restart: Restarts the server once all are settled; the boards are then followed until all are back. None
                for no restart.
            on_progress: Called with the progress in each turn of the loop.

        Raises:
            BenchError: A board cannot be switched on, or the server does not start again.
        """
        with ExitStack() as stack:
            for each in self._members:
                stack.callback(each.switch_off)
            self._follow(moments, on_progress, back=False)
            if restart:
                for life in self.lives:
                    life.lose_server(time.monotonic())
                restart()
                for life in self.lives:
                    life.find_server(time.monotonic())
                self._follow([], on_progress, back=True)

    def _follow(self, moments: Sequence[float], on_progress: OnProgress, *, back: bool) -> None:
        start = time.monotonic()
        due = deque(zip(moments, self._members, strict=False))
        while due or not all(each.settled for each in self.lives):
            now = time.monotonic()
            for each in self._members:
                each.look(now, self._timeout_s)
                if each.life.error or (self._leave and each.life.settled):
                    each.switch_off()
            if now - self._sampled_s >= _SAMPLE_S:
                self._sample(now)
            on_progress(Progress.of(self.lives, back=back))
            if due and due[0][0] <= now - start:  # one after the other, so that those that are on are looked at
                due.popleft()[1].switch_on()
            else:
                time.sleep(max(_LOOK_S, time.monotonic() - now))  # at most half of a CPU, however many there are
        self._sample(time.monotonic())

    def _sample(self, now: float) -> None:
        self._sampled_s = now
        shares = [usage.share_bytes(each.board.power.pid) for each in self._members if each.board.power]
        known = [each for each in shares if each is not None]
        if known:
            self.memory_bytes = max(self.memory_bytes or 0, sum(known))


class _Member:
    """A board, and its life by its events.

    An event is read late, the later the more boards want to run. But its board's clock runs at the rate of this
    machine's, and the time of the console's last write is known: the smallest difference of the two over all looks
    converts the times of all events of a board to this machine's clock.
    """

    def __init__(self, made: VirtualBoard, name: str) -> None:
        self.board = UnixBoard(made, recorder=EventRecorder(name, in_background=False))
        self.life = Life(name=name)
        self.cpu_s: float | None = None
        """CPU time of a board that is off again, in seconds."""
        self._lap: Lap | None = None
        self._ms: dict[str, int] = {}  # the steps of this lap, by the board's clock
        self._zero_s = math.inf  # of that clock, on this machine's
        self._why = ""  # the board's last event about something that went wrong

    def switch_on(self) -> None:
        """Switch the board on; this begins its first lap."""
        self.board.power_on(_CONDITIONS)
        self.life.begin(self.board.started_s)

    def switch_off(self) -> None:
        """Record its CPU time and switch it off. No-op if it is off."""
        if self.board.power:
            self.cpu_s = (usage.cpu_and_waiting_s(self.board.power.pid) or (None,))[0]
            self.board.power_off()

    def look(self, now: float, timeout_s: float) -> None:
        """Read the events since the last look, and fail the board if it takes longer than `timeout_s`."""
        if not self.board.is_on:
            return
        events = list(self.board.follow(0))
        own = [(event, event["ms"]) for event in events if _has_clock(event)]
        if own:
            if any(event["event"] == "boot" for event, _ in own):
                self._zero_s = math.inf
            written_s = self.board.log.stat().st_mtime - _SINCE_1970_S
            self._zero_s = min(self._zero_s, written_s - own[-1][1] / _MS)
        for event, ms in own:
            self._count(event, ms)
        for event in events:
            if event["event"] == POWER_LOST:
                self._fail(f"its process ended, last heard: {self.life.last}")
            elif event["event"] not in FOLLOW_UPS:
                self.life.last = words(event)
        self.life.expire(now, timeout_s)

    def _count(self, event: Event, ms: int) -> None:
        name = event["event"]
        lap = self.life.laps[-1]
        if self._zero_s + ms / _MS < lap.from_s:
            return
        if lap is not self._lap or name == "boot":  # after a reset its clock has another zero
            self._lap, self._ms = lap, {}
        if name == "crash" or event.get("fix") or event.get("detail"):
            self._why = words(event)
        first = lap is self.life.laps[0]
        if lap.counts(name):
            self._ms[name] = ms
            lap.moments |= {step: self._zero_s + at / _MS for step, at in self._ms.items()}
            if first:
                self.life.own_ms[name] = ms
            if first and lap.online and self.board.power:
                self.life.cpu_s, self.life.waited_s = usage.cpu_and_waiting_s(self.board.power.pid) or (None, None)
        elif name == "retry" and not lap.online:
            lap.attempts += 1
        elif name == "provisioning" and not first:
            self._fail("it provisioned again after its server was away")
        elif needs_person(event):
            self._fail(self._why or name)

    def _fail(self, why: str) -> None:
        self.life.error = self.life.error or why


def _has_clock(event: Event) -> bool:
    return event["event"] != "console" and isinstance(event.get("ms"), int)


def words(event: Event) -> str:
    """Return an event with its detail, if any, for an error in which it is the last one."""
    detail = event.get("text") or event.get("fix") or event.get("detail") or event.get("kind")
    return str(event["event"]) + (f" ({detail})" if detail else "")
