"""A virtual board as tests have it: MicroPython's unix port on a flash image, with nothing between."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bench.dut.board import TestBoard, repl_on
from bench.errors import BenchError
from bench.serial.raw_repl import RawRepl
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.power import PowerCycle


class UnixBoard(TestBoard):
    """`virtual` is the board itself, and `power` its power cycle while it is on: what only such a board can tell."""

    kind = "unix"

    def __init__(self, folder: Path, *, definition: str = "esp32_generic", mac: str = "") -> None:
        """Make a blank board in a folder."""
        super().__init__(folder.name, folder)
        self.virtual = VirtualBoard.create(folder, board=definition, mac=mac, blank=True)
        self.mac = self.virtual.mac
        self.power: PowerCycle | None = None
        self._conditions: Conditions | None = None

    @property
    def log(self) -> Path:
        """See TestBoard."""
        return self.virtual.console

    @property
    def is_on(self) -> bool:
        """See TestBoard."""
        return self.power is not None

    def install(self, files: Mapping[str, bytes]) -> None:
        """See TestBoard."""
        self.power_off()
        self.installed = dict(files)
        self.virtual.install(self.installed)

    def power_on(self, conditions: Conditions | None = None) -> None:
        """See TestBoard. The conditions hold for this power cycle, and its resets."""
        if self.power:
            raise BenchError(f"board {self.name} is on already")
        self._mark("switched_on")
        self._conditions = conditions
        self.power = power = self.virtual.power_on(conditions)
        self._hear(power.follow, lambda: power.is_lost)

    def power_off(self) -> None:
        """See TestBoard."""
        self._hear_no_more()
        if self.power:
            self.power.power_off()
            self.power = None
            self._mark("switched_off")

    def reset(self) -> None:
        """See TestBoard."""
        self.power_off()
        self.power_on(self._conditions)

    def close(self) -> None:
        """See TestBoard."""
        self.power_off()

    def say(self, text: str) -> None:
        """See TestBoard."""
        self._must_be_on()
        self.virtual.say(text)

    @contextmanager
    def repl(self) -> Iterator[RawRepl]:
        """See TestBoard."""
        self._must_be_on()
        assert self.power
        with self.virtual.console.open("rb") as console:
            console.seek(0, 2)
            self._is_deaf = True
            try:
                with repl_on(_Line(self.name, self.power, console)) as repl:
                    yield repl
            finally:
                self._is_deaf = False

    def read_flash(self) -> bytes:
        """See TestBoard."""
        return self.virtual.flash()


class _Line:
    """A power cycle's console as a serial port, as far as mpremote uses one. Who hears the board delivers keys."""

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
        said, self._ahead = self._ahead[:size], self._ahead[size:]
        return said
