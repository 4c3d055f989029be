"""A board on a serial port as tests have it, and a virtual one that is served as one."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import boards
from bench.dut.board import TestBoard, absolute, repl_on
from bench.dut.unsupported import CannotDo
from bench.errors import BenchError
from bench.flash import inspection
from bench.flash.chip_writer import ChipWriter
from bench.flash.progress import Unattended
from bench.serial.connection import SerialConnection
from bench.serial.raw_repl import RawRepl, ReplError
from bench.virtual import line_server
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.power import PowerCycle

_PATIENCE_S = 3.0  # a chip's own USB comes back after a reset


class PortBoard(TestBoard):
    """A board on a serial port. It is off while it is held in reset, which it is by RTS."""

    kind = "port"

    def __init__(self, port: str, folder: Path, *, definition: str = "esp32_generic") -> None:
        """Open the port, which nobody else has until `close`. Raises PortError."""
        super().__init__(port, folder)
        self.port = port
        self.definition = boards.load(definition)
        self._held = ExitStack()
        with ExitStack() as opened:
            log = opened.enter_context((self.folder / "line.log").open("ab", buffering=0))
            self.line = opened.enter_context(SerialConnection(port, patience_s=_PATIENCE_S, log=log))
            self.line.pulse_reset()  # whoever had it last may have left it held in reset, or in its loader
            self._held = opened.pop_all()
        self._is_on = True

    @property
    def log(self) -> Path:
        """See TestBoard."""
        return self.folder / "line.log"

    @property
    def is_on(self) -> bool:
        """See TestBoard."""
        return self._is_on

    def install(self, files: Mapping[str, bytes]) -> None:
        """See TestBoard. Raises BenchError if no MicroPython answers: it has to be flashed first."""
        self.installed = dict(files)
        wanted = {absolute(path): content for path, content in files.items()}
        if not self._is_on:
            self.power_on()
        try:
            with self.repl() as repl:
                found = inspection.inspect(repl, [])
                there = found.files or {}
                self.mac = found.mac
                changed = {
                    path: content for path, content in wanted.items() if there.get(path) != inspection.digest(content)
                }
                repl.write_files(changed, [path for path in there if path not in wanted], lambda _: None)
        except ReplError as error:
            raise BenchError(
                f"{self.name}: no MicroPython answers ({error}): bench flash --port {self.port} brings it there"
            ) from error
        self.power_off()

    def power_on(self, conditions: Conditions | None = None) -> None:
        """See TestBoard. A board that is on already is reset."""
        if conditions:
            raise CannotDo(f"{self.name} is a real board: what it meets is not the bench's to choose")
        self._mark("switched_on")
        if self._is_on or not self.line.release_from_reset():
            self.line.reset()
        self._is_on = True
        self._listen()

    def power_off(self) -> None:
        """See TestBoard. Raises CannotDo for a line without RTS, and for a chip's own USB, which goes with it."""
        if not self._is_on:
            return
        self._hear_no_more()
        if not self.line.hold_in_reset():
            raise CannotDo(f"{self.name} has no RTS, which would hold the board in reset")
        self._is_on = False
        self._mark("switched_off")

    def reset(self) -> None:
        """See TestBoard."""
        self._hear_no_more()
        self._mark("reset_line")
        self.line.reset()
        self._is_on = True
        self._listen()

    def close(self) -> None:
        """See TestBoard. The board runs on."""
        self._hear_no_more()
        self._show()
        self._held.close()

    def say(self, text: str) -> None:
        """See TestBoard."""
        self._must_be_on()
        self.line.send_line(text)

    @contextmanager
    def repl(self) -> Iterator[RawRepl]:
        """See TestBoard."""
        self._must_be_on()
        with self._deaf(self._listen), repl_on(self.line.port) as repl:
            yield repl

    def read_flash(self) -> bytes:
        """See TestBoard."""
        with self.loader() as chip:
            return chip.read()

    @contextmanager
    def loader(self) -> Iterator[ChipWriter]:
        """Its chip in its loader, as a context; the board is off afterwards."""
        self._hear_no_more()
        with TemporaryDirectory(prefix="bench-chip-") as folder:
            with ChipWriter(self.line, board=self.definition, reporter=Unattended(), folder=Path(folder)) as chip:
                yield chip
            self._is_on = True
            self.power_off()

    def _listen(self) -> None:
        if self._ear is None:
            self._hear(self.line.follow)


class ServedBoard(PortBoard):
    """A virtual board behind RFC 2217: all goes over the line, but its power is the bench's."""

    kind = "virtual"

    def __init__(self, folder: Path, *, definition: str = "esp32_generic", mac: str = "") -> None:
        """Make a blank board in a folder, and serve it."""
        self.virtual = VirtualBoard.create(folder, board=definition, mac=mac, blank=True)
        with ExitStack() as opened:
            self.served = opened.enter_context(line_server.serve(self.virtual, start=Start.HELD))
            super().__init__(self.served.url, folder, definition=definition)
            opened.push(self._held)
            self._held = opened.pop_all()
        self.served.reset(Start.HELD)  # it ran when its line was opened
        self.name = folder.name
        self.mac = self.virtual.mac
        self._is_on = False

    @property
    def log(self) -> Path:
        """See TestBoard."""
        return self.virtual.console

    @property
    def power(self) -> PowerCycle | None:
        """Its power cycle while it is on: what only a virtual board can tell."""
        return self.served.power

    def install(self, files: Mapping[str, bytes]) -> None:
        """See TestBoard."""
        self.power_off()
        self.installed = dict(files)
        self.virtual.install(self.installed)

    def power_on(self, conditions: Conditions | None = None) -> None:
        """See TestBoard."""
        if self._is_on:
            raise BenchError(f"board {self.name} is on already")
        self._mark("switched_on")
        self._is_on = True
        self.served.reset(Start.RUN, conditions or Conditions())
        self._listen()

    def power_off(self) -> None:
        """See TestBoard."""
        if self._is_on:
            self._hear_no_more()
            self.served.reset(Start.HELD)
            self._is_on = False
            self._mark("switched_off")

    def read_flash(self) -> bytes:
        """See TestBoard."""
        return self.virtual.flash()

    def _listen(self) -> None:
        if self._ear is None:
            self._hear(self.line.follow, self._has_lost_power)

    def _has_lost_power(self) -> bool:
        power = self.served.power
        return power is not None and power.is_lost
