"""A board that a test has, whatever it is: the same words for a virtual one and for one on a serial port."""

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench import paths
from bench.contract.events import Event
from bench.errors import BenchError
from bench.serial.ports import PortError
from bench.serial.raw_repl import RawRepl
from bench.virtual.environment import Conditions

_TURN_S = 0.05
_REPL_S = 10.0
_TOLD, _TOLD_OF_LINE = 20, 120  # of what a board said last, in an error, and characters of a line
_EPOCH_2000 = 946684800  # where MicroPython's time begins on an ESP32, in seconds since 1970
_CLOCK = "import time,json\nprint(json.dumps([time.gmtime(0)[0],time.time()]))"
_SET_CLOCK = """
import time,machine
_y,_m,_d,_h,_i,_s,_w=time.gmtime({seconds})[:7]
machine.RTC().datetime((_y,_m,_d,_w,_h,_i,_s,0))
"""


class NotHeard(BenchError):
    """What was expected of a board did not come in time."""


@dataclass(frozen=True)
class Heard:
    """An event, and when it was heard: seconds since 1970, by the host's clock."""

    at: float
    event: Event


class TestBoard(ABC):
    """A context manager: the board is off, and its port is free, at its end.

    A thread of its own hears the board all the time, so that it runs whether or not anybody waits for it.
    The bench's own events are `switched_on`, `switched_off`, `reset_line`, and `power_lost`: a power cut that
    was asked for, or a crash of a virtual board's CPU.
    """

    __test__ = False  # pytest takes what begins with Test for tests

    kind: str
    """`unix`, `virtual` or `port`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = paths.private_folder(folder)
        self.mac = ""
        """12 hex digits; empty if nobody knows it yet."""
        self.heard: list[Heard] = []
        """All events so far, also those from before the last power cycle."""
        self.installed: dict[str, bytes] = {}
        """The files that `install` put there last."""
        self.observer: Callable[[Event], None] = lambda _event: None
        """Is called with every event by who waits for some, or switches the board: never on another thread."""
        self._observed = 0  # how many it was called with
        self._expected = 0  # events before this one were waited for already, or passed over
        self._changed = threading.Condition()
        self._ear: threading.Thread | None = None
        self._stop_hearing = threading.Event()
        self._trouble: Exception | None = None
        self._is_deaf = False  # what is heard is the dialogue of a REPL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abstractmethod
    def log(self) -> Path:
        """The file that has all it ever said."""

    @property
    @abstractmethod
    def is_on(self) -> bool:
        """Whether it has power, and is not held in reset."""

    @abstractmethod
    def install(self, files: Mapping[str, bytes]) -> None:
        """Have MicroPython and exactly these files (path -> content) on the board, which is off afterwards.

        All else goes, credentials as well.
        """

    @abstractmethod
    def power_on(self, conditions: Conditions | None = None) -> None:
        """Switch it on. `conditions` are for virtual boards: what the power cycle meets. Raises CannotDo."""

    @abstractmethod
    def power_off(self) -> None:
        """Switch it off, at once; does nothing if it is off. Raises CannotDo."""

    @abstractmethod
    def reset(self) -> None:
        """Start it anew by its reset line."""

    @abstractmethod
    def close(self) -> None:
        """Leave it for good."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Type a line on its console."""

    @abstractmethod
    def repl(self) -> Any:
        """Its raw REPL, as a context: interrupts the program, which the next `reset` starts again.

        Events are not heard meanwhile. Raises ReplError.
        """

    @abstractmethod
    def read_flash(self) -> bytes:
        """The whole flash. A board on a port takes minutes for it, and is off afterwards."""

    def power_cycle(self, conditions: Conditions | None = None) -> None:
        """Switch it off and on."""
        self.power_off()
        self.power_on(conditions)

    # what it says

    @property
    def events(self) -> list[Event]:
        """What it said so far; lines that are no events are `{"event": "console", "text": ...}`."""
        return [each.event for each in self.heard]

    def expect_event(self, kind: str, /, *, within: float = 20.0, **fields: Any) -> Event:
        """The next event of this kind with these fields: the first after the one that was expected last.

        Raises NotHeard after `within` seconds, or at once when the power is lost; PortError when the port is gone.
        """
        __tracebackhide__ = True

        def fits(event: Event) -> bool:
            return event["event"] == kind and fields.items() <= event.items()

        return self._expect(fits, f"event {kind}{f' {json.dumps(fields)}' if fields else ''}", within)

    def expect_text(self, text: str, /, *, within: float = 20.0) -> str:
        """The next line with this text in it; raises as `expect_event` does."""
        __tracebackhide__ = True
        return str(
            self._expect(
                lambda event: event["event"] == "console" and text in event["text"], f"line with {text!r}", within
            )["text"]
        )

    def forget(self) -> None:
        """Expect nothing that was said before now."""
        with self._changed:
            self._expected = len(self.heard)

    def _expect(self, fits: Callable[[Event], bool], what: str, within: float) -> Event:
        __tracebackhide__ = True
        deadline = time.monotonic() + within
        with self._changed:
            begin = self._expected
            at = begin
            while True:
                while at < len(self.heard):
                    event = self.heard[at].event
                    at += 1
                    if fits(event):
                        self._expected = at
                        self._show()
                        return event
                if trouble := self._trouble or _lost_port(self.heard):
                    raise trouble
                lost = at > begin and self.heard[-1].event["event"] == "power_lost"
                left = deadline - time.monotonic()
                if lost or left <= 0 or not self.is_on:
                    break
                self._changed.wait(min(left, 1.0))
                self._show()
            said = ", ".join(_short(each.event) for each in self.heard[begin:][-_TOLD:]) or "nothing"
        why = "it lost power before" if lost else "it is off" if not self.is_on else f"none came within {within:g} s"
        raise NotHeard(f"board {self.name}: no {what}, {why}; since the last one expected it said {said}")

    def _must_be_on(self) -> None:
        if not self.is_on:
            raise BenchError(f"board {self.name} is off: power_on() comes first")

    # what is on it

    def exec(self, code: str) -> str:
        """Run a piece of program in its raw REPL, and return what it printed; see `repl`."""
        with self.repl() as repl:
            return str(repl.run(code))

    def read_file(self, path: str) -> bytes:
        """A file's content; see `repl`."""
        with self.repl() as repl:
            return bytes(repl.read_file(absolute(path)))

    def write_files(self, files: Mapping[str, bytes], remove: tuple[str, ...] = ()) -> None:
        """Write files (path -> content), each whole or not at all, and remove others; see `repl`."""
        with self.repl() as repl:
            gone = [absolute(path) for path in remove]
            repl.write_files({absolute(path): content for path, content in files.items()}, gone, lambda _: None)

    def clock(self) -> int:
        """What its clock says, in seconds since 1970; see `repl`."""
        with self.repl() as repl:
            epoch, seconds = repl.run_json(_CLOCK)
        return int(seconds) + (_EPOCH_2000 if epoch == 2000 else 0)

    def set_clock(self, seconds: int) -> None:
        """Set its clock, seconds since 1970, and restart its program."""
        with self.repl() as repl:
            epoch, _ = repl.run_json(_CLOCK)
            repl.run(_SET_CLOCK.format(seconds=seconds - (_EPOCH_2000 if epoch == 2000 else 0)))
            self.forget()
            repl.reset()

    # for the kinds of boards

    def _hear(self, follow: Callable[[float], Iterator[Event]], is_lost: Callable[[], bool] = lambda: False) -> None:
        """Begin to hear what `follow(timeout_s)` yields."""
        self._stop_hearing.clear()
        self._trouble = None

        def listen() -> None:
            try:
                while not self._stop_hearing.is_set():
                    for event in follow(_TURN_S):
                        if not self._is_deaf:
                            self._note(event)
                    if is_lost():
                        self._note({"event": "power_lost"})
                        return
            except Exception as error:  # noqa: BLE001 - told to who expects something
                with self._changed:
                    self._trouble = error
                    self._changed.notify_all()

        self._ear = threading.Thread(target=listen, name=f"ear of {self.name}", daemon=True)
        self._ear.start()

    def _mark(self, what: str) -> None:
        """Note what the bench does with the board; nothing that was said before it is expected any more."""
        self._note({"event": what})
        self.forget()
        self._show()

    def _show(self) -> None:
        """Have the observer know what it does not know yet."""
        while self._observed < len(self.heard):
            self._observed += 1
            self.observer(self.heard[self._observed - 1].event)

    def _note(self, event: Event) -> None:
        with self._changed:
            self.heard.append(Heard(time.time(), event))
            self._changed.notify_all()

    def _hear_no_more(self) -> None:
        if self._ear:
            self._stop_hearing.set()
            self._ear.join()
            self._ear = None

    @contextmanager
    def _deaf(self, hear: Callable[[], None]) -> Iterator[None]:
        """Nothing is heard in this context; then it begins again by `hear`."""
        self._hear_no_more()
        try:
            yield
        finally:
            hear()


def _short(event: Event) -> str:
    """What was said, as an error tells it."""
    return repr(event["text"][:_TOLD_OF_LINE]) if event["event"] == "console" else str(event["event"])


def _lost_port(heard: list[Heard]) -> PortError | None:
    """Why the port is not there, if the last that was heard is that it went."""
    last = heard[-1].event if heard else {}
    return PortError(last["detail"]) if last.get("event") == "port_lost" else None


@contextmanager
def repl_on(line: Any) -> Iterator[RawRepl]:
    """The raw REPL on an open line. Raises ReplError."""
    with RawRepl(line, timeout_s=_REPL_S) as repl:
        yield repl


def absolute(path: str) -> str:
    """A path as the board has it, from its root."""
    return f"/{path.lstrip('/')}"
