"""One interface to every kind of board under test: its power, its events, its console, its programs and files.

Implementations are `virtual.UnixBoard`, `serial.PortBoard` and `served.ServedBoard`. The pytest plugin, the
conformance checks, measurements, fleets and the monitor follow boards by this interface. Two others do not:
`bench.flash`, which brings up boards on the serial line below, and what is about single power cycles of virtual boards,
their writes to the flash and their end (chaos, the demo, `bench board boot`, benchmarks): that is `virtual.power`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from bench import paths
from bench.contract.events import Event
from bench.dut import repl as on_repl
from bench.dut.recorder import EventRecorder, RecordedEvent, expectation
from bench.errors import BenchError
from bench.serial.raw_repl import RawRepl
from bench.virtual.environment import Conditions


class Board(ABC):
    """A board under test; a context manager, at whose end it is off, or its port is free.

    The bench's own events are `switched_on`, `switched_off`, `reset_line`, and `power_lost`: a power cut that
    was requested, or a crash of a virtual board's CPU. Operations that a kind of board does not support raise CannotDo.
    """

    kind: str
    """`unix`, `virtual` or `port`."""

    def __init__(self, name: str, folder: Path | None, recorder: EventRecorder | None = None) -> None:
        """Make a board that is off.

        Args:
            name: Its name, for errors.
            folder: The folder of its files, made if it is not there; None: it has none.
            recorder: Its event recorder; by default one with a thread, which keeps all events.
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

        Raises:
            BenchError: The board cannot be written, or the files do not fit.
        """

    @abstractmethod
    def power_on(self, conditions: Conditions | None = None) -> None:
        """Switch it on.

        Args:
            conditions: For virtual boards: the conditions of the power cycle, e.g. its heap. None for the usual ones.

        Raises:
            BenchError: It is a virtual board, and is on already.
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
        """Restart it by its reset line. Raises BenchError if that is not possible."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources. A virtual board is switched off; a board on a port runs on."""

    @abstractmethod
    def send_line(self, text: str) -> None:
        """Type a line on its console.

        Raises:
            BenchError: It is off, or does not read the line.
        """

    @abstractmethod
    def repl(self) -> AbstractContextManager[RawRepl]:
        """Return a context with its raw REPL, which interrupts the program; the next `reset` starts that again.

        No events are recorded meanwhile.

        Raises:
            BenchError: It is off.
            ReplError: No MicroPython answers.
        """

    @abstractmethod
    def read_flash(self) -> bytes:
        """Return the whole flash. A board on a port takes minutes for it, and is off afterwards.

        Raises:
            BenchError: A board on a port does not answer in its loader.
        """

    def power_cycle(self, conditions: Conditions | None = None) -> None:
        """Switch it off and on; see `power_on`."""
        self.power_off()
        self.power_on(conditions)

    # Its events.

    @property
    def received(self) -> list[RecordedEvent]:
        """All events so far with the times at which they were received, also those from before the last power cycle."""
        return list(self._recorder.recorded)

    @property
    def events(self) -> list[Event]:
        """All events so far; a line that is not an event becomes `{"event": "console", "text": ...}`."""
        return [each.event for each in self.received]

    @property
    def observer(self) -> Callable[[Event], None]:
        """A function that is called with every event, on the thread that waits for events or switches the board."""
        return self._recorder.observer

    @observer.setter
    def observer(self, observer: Callable[[Event], None]) -> None:
        self._recorder.observer = observer

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Yield the events after the last one that was followed or expected, as they come.

        Args:
            timeout_s: Seconds after which it ends; 0: only events that are there; None: when the board is off.

        Raises:
            BenchError: The board can no longer be read.
        """
        return self._recorder.follow(timeout_s)

    def expect_event(self, kind: str, /, *, timeout_s: float = 20.0, **fields: Any) -> Event:
        """Return the next event of this kind with these fields: the first after the one that was expected last.

        Args:
            kind: The event's name.
            timeout_s: Seconds to wait.
            **fields: Values that the event has to have.

        Raises:
            EventMissing: It did not come within `timeout_s` seconds, or the power was lost before.
            PortError: The port is gone.
        """
        __tracebackhide__ = True
        return self._recorder.expect(
            lambda event: event["event"] == kind and fields.items() <= event.items(),
            expectation(kind, fields),
            timeout_s,
            lambda: self.is_on,
        )

    def expect_text(self, text: str, /, *, timeout_s: float = 20.0) -> str:
        """Return the next line that contains this text, and is not an event: the first after the last one expected.

        Args:
            text: The text.
            timeout_s: Seconds to wait.

        Raises:
            EventMissing: It did not come within `timeout_s` seconds, or the power was lost before.
            PortError: The port is gone.
        """
        __tracebackhide__ = True
        found = self._recorder.expect(
            lambda event: event["event"] == "console" and text in event["text"],
            f"line with {text!r}",
            timeout_s,
            lambda: self.is_on,
        )
        return str(found["text"])

    def forget(self) -> None:
        """Pass over all events so far: only later ones can be expected."""
        self._recorder.skip()

    # Its programs, files and clock, by its raw REPL; see `repl`.

    def exec(self, code: str) -> str:
        """Run code in its raw REPL, and return its output. The program is interrupted, see `repl`.

        Raises:
            BenchError: The board is off.
            ReplError: The code raised, or no MicroPython answers.
        """
        with self.repl() as repl:
            return repl.run(code)

    def read_file(self, path: str) -> bytes:
        """Return a file's content. The program is interrupted, see `repl`.

        Args:
            path: The file, with or without a leading slash.

        Raises:
            BenchError: The board is off.
            ReplError: There is no such file, or no MicroPython answers.
        """
        with self.repl() as repl:
            return repl.read_file(on_repl.absolute(path))

    def write_files(self, files: Mapping[str, bytes], remove: tuple[str, ...] = ()) -> None:
        """Write files, each whole or not at all, and remove others. The program is interrupted, see `repl`.

        Args:
            files: Path -> content.
            remove: Paths of files to remove.

        Raises:
            BenchError: The board is off.
            ReplError: The board reports an error, or no MicroPython answers; `PATH.new` may be left.
        """
        with self.repl() as repl:
            gone = [on_repl.absolute(path) for path in remove]
            written = {on_repl.absolute(path): content for path, content in files.items()}
            repl.write_files(written, gone, lambda _: None)

    def clock(self) -> int:
        """Return the time by its clock, in seconds since 1970; raises as `exec` does."""
        with self.repl() as repl:
            return on_repl.clock(repl)

    def set_clock(self, seconds: int) -> None:
        """Set its clock, in seconds since 1970, and restart its program.

        Raises:
            BenchError: The board is off.
            ReplError: No MicroPython answers, or its clock cannot have that time: an ESP32's ends in 2068.
        """
        with self.repl() as repl:
            on_repl.set_clock(repl, seconds)
            self.forget()
            repl.reset()

    def _require_on(self) -> None:
        if not self.is_on:
            raise BenchError(f"board {self.name} is off: power_on() comes first")
