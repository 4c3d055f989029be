"""Virtual boards under test: MicroPython's unix port on a flash image, without a serial line between."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bench.dut.recorder import EventRecorder
from bench.dut.repl import repl_on
from bench.dut.virtual_base import VirtualBase
from bench.errors import BenchError
from bench.serial.raw_repl import RawRepl
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.power import PowerCycle


class UnixBoard(VirtualBase):
    """A virtual board without a serial line. It gets across resets only while its events are followed."""

    kind = "unix"

    def __init__(self, virtual: VirtualBoard, *, recorder: EventRecorder | None = None) -> None:
        """Take over a virtual board, which is off.

        Args:
            virtual: The board itself, with its flash.
            recorder: See Board. One without a thread is for a caller that follows the board all the time it is on.
        """
        super().__init__(virtual.folder.name, virtual.folder, recorder)
        self.virtual = virtual
        self.mac = virtual.mac
        self.power: PowerCycle | None = None
        """Its power cycle while it is on."""
        self._conditions: Conditions | None = None

    @classmethod
    def create(
        cls, folder: Path, *, definition: str = "esp32_generic", mac: str = "", recorder: EventRecorder | None = None
    ) -> "UnixBoard":
        """Make a blank board in a folder.

        Args:
            folder: The board's folder, which is made.
            definition: The name of its definition in boards/.
            mac: 12 hex digits; a random one if empty.
            recorder: See Board.

        Raises:
            UsageError: There is a board in this folder, no such definition, or `mac` is not a MAC.
        """
        return cls(VirtualBoard.create(folder, board=definition, mac=mac, blank=True), recorder=recorder)

    @property
    def is_on(self) -> bool:
        """See Board."""
        return self.power is not None

    @property
    def started_s(self) -> float:
        """See Board."""
        return self.power.started_s if self.power else 0.0

    def power_on(self, conditions: Conditions | None = None) -> None:
        """See Board. The conditions hold for this power cycle, across its resets and those by `reset`."""
        if self.power:
            raise BenchError(f"board {self.name} is on already")
        self._recorder.mark("switched_on")
        self._conditions = conditions
        self.power = power = self.virtual.power_on(conditions)
        self._recorder.attach(power, lambda: power.is_lost)

    def power_off(self) -> None:
        """See Board."""
        self._recorder.detach()
        if self.power:
            self.power.power_off()
            self.power = None
            self._recorder.mark("switched_off")

    def reset(self) -> None:
        """See Board."""
        self.power_off()
        self.power_on(self._conditions)

    def close(self) -> None:
        """See Board."""
        self.power_off()

    def send_line(self, text: str) -> None:
        """See Board."""
        self._require_on()
        self.virtual.send_line(text)

    @contextmanager
    def repl(self) -> Iterator[RawRepl]:
        """See Board."""
        self._require_on()
        assert self.power
        with self.virtual.console.open("rb") as console:
            console.seek(0, 2)
            with self._recorder.muted(), repl_on(_ConsoleLine(self.name, self.power, console)) as repl:
                yield repl


class _ConsoleLine:
    """A power cycle's console as a serial port, as far as mpremote uses one.

    Reading the board's events, in a thread meanwhile, is what delivers the keys.
    """

    def __init__(self, port: str, power: PowerCycle, console: BinaryIO) -> None:
        self.port = port
        self._power = power
        self._console = console
        self._ahead = b""

    def write(self, keys: bytes) -> int:
        self._power.type(keys)
        return len(keys)

    def inWaiting(self) -> int:  # noqa: N802 - pyserial's name
        self._ahead += self._console.read()
        return len(self._ahead)

    def read(self, size: int) -> bytes:
        self.inWaiting()
        read, self._ahead = self._ahead[:size], self._ahead[size:]
        return read
