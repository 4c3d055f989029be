"""One interface to a board under test, whatever it is: its power, its events, its console, its programs and files.

Implementations are `virtual.UnixBoard`, `serial.PortBoard` and `served.ServedBoard`. All in the bench that follows
boards does it through this interface: the pytest plugin, the conformance checks, measurements, fleets and the monitor.
Only the flasher does not: it brings up boards from the floor below, on the serial line that a `PortBoard` is built on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

from bench import paths
from bench.contract.events import Event
from bench.dut.recorder import EventRecorder, RecordedEvent, expectation
from bench.errors import BenchError
from bench.serial.raw_repl import RawRepl
from bench.virtual.environment import Conditions

_REPL_S = 10.0
_EPOCH_2000 = 946684800  # where MicroPython's time begins on an ESP32, in seconds since 1970
_CLOCK = "import time,json\nprint(json.dumps([time.gmtime(0)[0],time.time()]))"
_SET_CLOCK = """
import time,machine
_y,_m,_d,_h,_i,_s,_w=time.gmtime({seconds})[:7]
machine.RTC().datetime((_y,_m,_d,_w,_h,_i,_s,0))
"""


class Board(ABC):
    """A board under test; a context manager, at whose end it is off, or its port is free.

    The bench's own events are `switched_on`, `switched_off`, `reset_line`, and `power_lost`: a power cut that
    was requested, or a crash of a virtual board's CPU. What a board of one kind cannot do raises CannotDo.
    """

    kind: str
    """`unix`, `virtual` or `port`."""

    def __init__(self, name: str, folder: Path | None, recorder: EventRecorder | None = None) -> None:
        """Make a board that is off.

        Args:
            name: Its name, for errors.
            folder: The folder of its files, made if it is not there; None: it has none.
            recorder: What reads its events; by default a thread, which keeps all of them.
        """
        self.name = name
        self.folder = folder and paths.private_folder(folder)
        self.mac = ""
        """12 hex digits; empty if it is not known yet."""
        self.installed: dict[str, bytes] = {}
        """The files of the last `install`."""
        self._recorder = recorder or EventRecorder(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abstractmethod
    def log(self) -> Path | None:
        """The file with everything that the board ever wrote to its console; None if it has no folder."""

    @property
    @abstractmethod
    def is_on(self) -> bool:
        """True while it has power and is not held in reset."""

    @property
    @abstractmethod
    def started_s(self) -> float:
        """The time of its last start, by `time.monotonic`: its power-on, or the end of a reset."""

    @abstractmethod
    def install(self, files: Mapping[str, bytes]) -> None:
        """Put MicroPython and exactly these files on the board, which is off afterwards.

        All else goes, credentials as well.

        Args:
            files: Path -> content.
        """

    @abstractmethod
    def power_on(self, conditions: Conditions | None = None) -> None:
        """Switch it on.

        Args:
            conditions: For virtual boards: what the power cycle meets.

        Raises:
            CannotDo: There are conditions, and it is a real board.
        """

    @abstractmethod
    def power_off(self) -> None:
        """Switch it off, at once. No-op if it is off.

        Raises:
            CannotDo: Its line cannot hold it in reset.
        """

    @abstractmethod
    def reset(self) -> None:
        """Start it anew by its reset line."""

    @abstractmethod
    def close(self) -> None:
        """Release all that it has; a board on a port runs on."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Type a line on its console."""

    @abstractmethod
    def repl(self) -> AbstractContextManager[RawRepl]:
        """Return a context with its raw REPL, which interrupts the program; the next `reset` starts that again.

        No events are recorded meanwhile.

        Raises:
            ReplError: No MicroPython answers.
        """

    @abstractmethod
    def read_flash(self) -> bytes:
        """Return the whole flash. A board on a port takes minutes for it, and is off afterwards."""

    def power_cycle(self, conditions: Conditions | None = None) -> None:
        """Switch it off and on; see `power_on`."""
        self.power_off()
        self.power_on(conditions)

    # Its events.

    @property
    def heard(self) -> list[RecordedEvent]:
        """All events so far with their times, also those from before the last power cycle."""
        return list(self._recorder.recorded)

    @property
    def events(self) -> list[Event]:
        """All events so far; a line that is no event is `{"event": "console", "text": ...}`."""
        return [each.event for each in self.heard]

    @property
    def observer(self) -> Callable[[Event], None]:
        """A function for every event: called by whoever waits for events or switches the board, on no other thread."""
        return self._recorder.observer

    @observer.setter
    def observer(self, observer: Callable[[Event], None]) -> None:
        self._recorder.observer = observer

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Yield the events after the last one that was followed or expected, as they come.

        Args:
            timeout_s: Seconds after which it ends; 0: only what is there; None: when the board is off.

        Raises:
            BenchError: The board can no longer be read.
        """
        return self._recorder.follow(timeout_s)

    def expect_event(self, kind: str, /, *, within: float = 20.0, **fields: Any) -> Event:
        """Return the next event of this kind with these fields: the first after the one that was expected last.

        Args:
            kind: The event's name.
            within: Seconds to wait.
            **fields: Values that the event has to have.

        Raises:
            EventMissing: It did not come within `within` seconds, or the power was lost before.
            PortError: The port is gone.
        """
        __tracebackhide__ = True
        return self._recorder.expect(
            lambda event: event["event"] == kind and fields.items() <= event.items(),
            expectation(kind, fields),
            within,
            lambda: self.is_on,
        )

    def expect_text(self, text: str, /, *, within: float = 20.0) -> str:
        """Return the next line with this text in it; see `expect_event`."""
        __tracebackhide__ = True
        found = self._recorder.expect(
            lambda event: event["event"] == "console" and text in event["text"],
            f"line with {text!r}",
            within,
            lambda: self.is_on,
        )
        return str(found["text"])

    def forget(self) -> None:
        """Expect no event from before now."""
        self._recorder.skip()

    # Its programs, files and clock, by its raw REPL; see `repl`.

    def exec(self, code: str) -> str:
        """Run a piece of program in its raw REPL, and return what it printed."""
        with self.repl() as repl:
            return repl.run(code)

    def read_file(self, path: str) -> bytes:
        """Return a file's content."""
        with self.repl() as repl:
            return repl.read_file(absolute(path))

    def write_files(self, files: Mapping[str, bytes], remove: tuple[str, ...] = ()) -> None:
        """Write files (path -> content), each whole or not at all, and remove others."""
        with self.repl() as repl:
            gone = [absolute(path) for path in remove]
            repl.write_files({absolute(path): content for path, content in files.items()}, gone, lambda _: None)

    def clock(self) -> int:
        """Return the time by its clock, in seconds since 1970."""
        with self.repl() as repl:
            epoch, seconds = repl.run_json(_CLOCK)
        return int(seconds) + (_EPOCH_2000 if epoch == 2000 else 0)

    def set_clock(self, seconds: int) -> None:
        """Set its clock, in seconds since 1970, and restart its program."""
        with self.repl() as repl:
            epoch, _ = repl.run_json(_CLOCK)
            repl.run(_SET_CLOCK.format(seconds=seconds - (_EPOCH_2000 if epoch == 2000 else 0)))
            self.forget()
            repl.reset()

    def _require_on(self) -> None:
        if not self.is_on:
            raise BenchError(f"board {self.name} is off: power_on() comes first")


@contextmanager
def repl_on(line: Any) -> Iterator[RawRepl]:
    """Open the raw REPL on an open line.

    Raises:
        ReplError: No MicroPython answers.
    """
    with RawRepl(line, timeout_s=_REPL_S) as repl:
        yield repl


def absolute(path: str) -> str:
    """Return a path from the board's root."""
    return f"/{path.lstrip('/')}"
