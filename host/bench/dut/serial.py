"""Boards under test on serial ports."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import boards
from bench.dut.board import Board
from bench.dut.recorder import EventRecorder
from bench.dut.repl import absolute, repl_on
from bench.dut.unsupported import CannotDo
from bench.errors import BenchError
from bench.flash import inspection
from bench.flash.chip_writer import ChipWriter
from bench.flash.esptool import EsptoolError
from bench.flash.progress import Unattended
from bench.serial import ports
from bench.serial.connection import SerialConnection
from bench.serial.raw_repl import RawRepl, ReplError
from bench.virtual.environment import Conditions

_PATIENCE_S = 3.0  # a chip's own USB comes back after a reset


class PortBoard(Board):
    """A board on a serial port. It is off while it is held in reset, which it is by RTS."""

    kind = "port"

    def __init__(  # noqa: PLR0913 - what there is to a port, by name
        self,
        port: str,
        folder: Path | None = None,
        *,
        definition: str = "esp32_generic",
        baud: int = ports.BAUD,
        reset: bool = True,
        recorder: EventRecorder | None = None,
    ) -> None:
        """Open the port, for no other process until `close`.

        Args:
            port: A device, or a URL of pyserial, e.g. `rfc2217://...`.
            folder: The folder of its log; None: there is none.
            definition: The name of its definition in boards/.
            baud: The rate of its console.
            reset: Reset it now, as another program may have left it held in reset, or in its loader, and follow it
                from its next start on. Otherwise it runs on, and is followed from now on.
            recorder: See Board.

        Raises:
            PortError: The port cannot be opened.
            UsageError: There is no such definition.
        """
        super().__init__(port, folder, recorder)
        self.port = port
        self.definition = boards.load(definition)
        self._held = ExitStack()
        with ExitStack() as opened:
            log = opened.enter_context((self.folder / "line.log").open("ab", buffering=0)) if self.folder else None
            self.line = opened.enter_context(
                SerialConnection(port, baud=baud, patience_s=_PATIENCE_S if reset else 0.0, log=log)
            )
            if reset:
                self.line.pulse_reset()
            self._held = opened.pop_all()
        self._is_on = True
        if not reset:
            self._listen()

    @property
    def log(self) -> Path | None:
        """See Board."""
        return self.folder and self.folder / "line.log"

    @property
    def is_on(self) -> bool:
        """See Board."""
        return self._is_on

    @property
    def started_s(self) -> float:
        """See Board."""
        return self.line.started_s

    def install(self, files: Mapping[str, bytes]) -> None:
        """See Board.

        Raises:
            BenchError: No MicroPython answers: it has to be flashed first.
        """
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
        """See Board. A board that is on already is reset.

        Raises:
            CannotDo: There are conditions: those of a real board are not the bench's to choose.
        """
        if conditions:
            raise CannotDo(f"{self.name} is a real board: what it meets is not the bench's to choose")
        self._recorder.detach()
        self._recorder.mark("switched_on")
        if self._is_on or not self._release():
            self._restart()

    def power_off(self) -> None:
        """See Board.

        Raises:
            CannotDo: The line has no RTS, or is a chip's own USB, which goes with the chip.
        """
        if not self._is_on:
            return
        self._recorder.detach()
        if not self.line.hold_in_reset():
            raise CannotDo(f"{self.name} has no RTS, which would hold the board in reset")
        self._is_on = False
        self._recorder.mark("switched_off")

    def reset(self) -> None:
        """See Board."""
        self._recorder.detach()
        self._recorder.mark("reset_line")
        self._restart()

    def close(self) -> None:
        """See Board. The board runs on."""
        self._recorder.detach()
        self._recorder.show()
        self._held.close()

    def send_line(self, text: str) -> None:
        """See Board."""
        self._require_on()
        self.line.send_line(text)

    @contextmanager
    def repl(self) -> Iterator[RawRepl]:
        """See Board."""
        self._require_on()
        self._recorder.detach()
        try:
            with repl_on(self.line.port) as repl:
                yield repl
        finally:
            self._listen()

    def read_flash(self) -> bytes:
        """See Board."""
        with self.loader() as chip:
            return chip.read()

    @contextmanager
    def loader(self) -> Iterator[ChipWriter]:
        """Return a context with its chip's loader; the board is off afterwards.

        Raises:
            BenchError: The loader does not answer.
        """
        self._recorder.detach()
        with TemporaryDirectory(prefix="bench-chip-") as folder:
            try:
                with ChipWriter(self.line, board=self.definition, reporter=Unattended(), folder=Path(folder)) as chip:
                    yield chip
            except EsptoolError as error:
                raise BenchError(f"{self.name}: {error}") from error
            self._is_on = True
            self.power_off()

    def _restart(self) -> None:
        """Reset it, by RTS or else by MicroPython."""
        held = self.line.hold_in_reset()
        if held:
            time.sleep(self.line.pulse_s)
        if not (held and self._release()):
            self.line.reset()
            self._is_on = True
            self._listen()

    def _release(self) -> bool:
        """Let a chip that is held in reset run; return whether the line supports it.

        Reading begins before that: over a network the line's answer comes after the board's first lines.
        """
        self._listen()
        self._is_on = self.line.release_from_reset()
        if not self._is_on:
            self._recorder.detach()
        return self._is_on

    def _listen(self) -> None:
        if not self._recorder.is_attached:
            self._recorder.attach(self.line)
