"""Reading, erasing and writing a board's flash through its chip's ROM loader, by esptool."""

import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import paths
from bench.boards import BoardDefinition, Partition
from bench.errors import BenchError
from bench.flash import esptool, filesystem, partitions
from bench.flash.esptool import EsptoolError, EsptoolFailure, EsptoolLine
from bench.flash.filesystem import Region
from bench.flash.progress import ProgressReporter
from bench.serial import ports, rfc2217_pty
from bench.serial.connection import SerialConnection
from bench.serial.rfc2217_pty import Relay

_INSPECTED = filesystem.BLOCK_SIZE + 16  # bytes, up to the second block's name
_LONGER_S = (0.0, 0.5, 0.0)  # how much longer than usual IO0 is held, one an attempt to connect
_HARD_RESET, _NO_RESET, _STUB_STAYS = "hard-reset", "no-reset", "no-reset-stub"
_ONCE = ["--connect-attempts", "1"]
_BY_HAND_S = 120.0  # for a user to find the buttons
_MAC = re.compile(r"^(?:BASE )?MAC:\s+((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\s*$", re.MULTILINE | re.IGNORECASE)
_CHIP = re.compile(r"^Connected to (ESP32[\w-]*) on ", re.MULTILINE)
_SIZE = re.compile(r"^Detected flash size: (\d+)MB", re.MULTILINE)


class ChipWriter:
    """A client of the ROM loader of a board's chip, by esptool; a context manager.

    Where the port cannot get the chip into its loader, or `before` is `no-reset`, the user is asked to do it.
    """

    def __init__(  # noqa: PLR0913 - all that there is to it, by name
        self,
        line: SerialConnection,
        *,
        board: BoardDefinition,
        reporter: ProgressReporter,
        folder: Path,
        baud: int = 0,
        before: str = "",
    ) -> None:
        """Prepare for the board on an open connection, which is the writer's alone until the end of the context.

        Args:
            line: The connection. esptool opens the port itself meanwhile, or a relay's terminal.
            board: The board's definition.
            reporter: Notified of the bytes that are done, and asked for what a user has to do.
            folder: A private folder for temporary files, which hold secrets.
            baud: Speed in baud; 0 for the definition's.
            before: esptool's way into the loader; empty for the definition's.
        """
        self.port = port = line.name
        self._line = line
        self.board = board
        # a bare socket's other end stays at its rate
        self._baud = baud = baud or (board.baud if ports.can_reset(port) else ports.BAUD)
        self._before = before or board.before
        self._is_by_hand = self._before == _NO_RESET or not ports.can_reset(port)
        self._reporter = reporter
        self._folder = folder
        self._relay: Relay | None = None
        self._is_stub_left = False
        self._held = ExitStack()

    def __enter__(self) -> Self:
        if rfc2217_pty.can_relay(self.port, self._baud):
            self._relay = self._held.enter_context(closing(Relay(self._line)))
        else:
            self._held.enter_context(self._line.borrowed())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def inspect(self) -> tuple[str, bool]:
        """Read the identity of the board, and whether it has a file system.

        Returns:
            The MAC as 12 hex digits, and whether a LittleFS is in the partition `vfs`.

        Raises:
            EsptoolError: As `esptool.run` does; of the kind WRONG_CHIP if the definition is for another chip.
        """
        head, output = self._peek(self.board.partition("vfs").offset, _INSPECTED)
        if not (mac := _MAC.search(output)):
            raise _unexpected(output, "the chip's MAC")
        return mac[1].replace(":", "").lower(), filesystem.MAGIC in head

    def other_filesystem(self) -> Partition | None:
        """Look for a file system where the board's own partition table has one, and the definition has not.

        Returns:
            The table's partition `vfs` if a LittleFS is in it and it is another one than the definition's.

        Raises:
            EsptoolError: As `esptool.run` does.
        """
        table, _ = self._peek(partitions.TABLE_OFFSET, partitions.TABLE_SIZE)
        try:
            found = next((each for each in partitions.decode(table) if each.label == "vfs"), None)
        except BenchError:  # a blank board, or one that never ran MicroPython
            return None
        if found is None or found == self.board.partition("vfs"):
            return None
        head, _ = self._peek(found.offset, _INSPECTED)
        return found if filesystem.MAGIC in head else None

    def identify(self) -> tuple[str, str, int]:
        """Read the MAC, the chip and the size of the flash. For a definition with the chip `auto`, of an unknown board.

        Returns:
            The MAC as 12 hex digits, the chip as definitions name it, and the size of the flash in MB.

        Raises:
            EsptoolError: As `esptool.run` does.
        """
        output = self._run(["flash-id"])
        mac, chip, size = _MAC.search(output), _CHIP.search(output), _SIZE.search(output)
        if not mac or not chip or not size:
            raise _unexpected(output, "chip, MAC and size of the flash")
        return mac[1].replace(":", "").lower(), chip[1].replace("-", "").lower(), int(size[1])

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Read the flash, verified by MD5.

        Args:
            offset: Where to begin, in bytes.
            size: Number of bytes; None for the whole flash.

        Returns:
            The content.

        Raises:
            EsptoolError: As `esptool.run` does.
        """
        file = self._folder / "read.bin"
        total = self.board.flash_size if size is None else size

        def progress(line: EsptoolLine) -> None:
            if line.percent is not None:
                self._reporter.advance(round(total * line.percent / 100), total)

        self._run(["read-flash", hex(offset), "ALL" if size is None else hex(size), str(file)], progress)
        return file.read_bytes()

    def erase(self, offset: int = 0, size: int | None = None) -> None:
        """Erase whole sectors.

        Args:
            offset: Where to begin, in bytes: a multiple of 4096.
            size: Number of bytes, a multiple of 4096; None for the whole flash.

        Raises:
            EsptoolError: As `esptool.run` does.
        """
        self._run(["erase-flash"] if size is None else ["erase-region", hex(offset), hex(size)])

    def erase_filesystem_head(self) -> None:
        """Erase the superblocks of the file system, without which it is invalid. Raises EsptoolError."""
        self.erase(self.board.partition("vfs").offset, filesystem.HEAD)

    def write(self, regions: Sequence[Region], *, erase: bool = False) -> int:
        """Write regions in this order, verified by MD5. Regions that the flash holds already are not sent.

        Args:
            regions: Offsets and contents, each of whole sectors.
            erase: Erase the whole flash first.

        Returns:
            The compressed size of the regions in bytes, in which the progress is reported as well.

        Raises:
            EsptoolError: As `esptool.run` does. Nothing is erased if the flash is too small.
        """
        weights = [len(zlib.compress(content, 9)) for _, content in regions]
        through = [0.0] * len(regions)

        def progress(line: EsptoolLine) -> None:
            if line.percent is None or line.address is None:
                return
            for index, (offset, content) in enumerate(regions):
                if offset <= line.address <= offset + len(content):
                    through[index] = max(through[index], line.percent / 100)
                    break
            self._reporter.advance(round(sum(map(float.__mul__, through, map(float, weights)))), sum(weights))

        files = []
        for number, (offset, content) in enumerate(regions):
            file = self._folder / f"{number}.bin"
            paths.write_private(file, content)
            files += [hex(offset), str(file)]
        options = ["--erase-all"] if erase else ["--skip-flashed"]
        options += ["--flash-mode", self.board.flash_mode, "--flash-size", f"{self.board.flash_size >> 20}MB"]
        self._run(["write-flash", *options, *files], progress)
        return sum(weights)

    def _peek(self, offset: int, size: int) -> tuple[bytes, str]:
        """Read a little, and leave the loader's stub running; return the content and esptool's output."""
        file = self._folder / "peek.bin"
        # at the loader's first speed, so that the next command finds the stub where this one left it
        output = self._run(["read-flash", hex(offset), hex(size), str(file)], baud=ports.BAUD, after=_STUB_STAYS)
        return file.read_bytes(), output

    def _run(
        self,
        command: list[str],
        on_progress: Callable[[EsptoolLine], None] | None = None,
        *,
        baud: int = 0,
        after: str = _NO_RESET,
    ) -> str:
        """Run esptool, leave the chip in its loader, and return the output. Raises EsptoolError."""
        silence: EsptoolError | None = None
        for before in self._ways():
            try:
                output = esptool.run(
                    self.port,
                    ["--chip", self.board.chip, *(_ONCE if before == _NO_RESET else []), *command],
                    baud=baud or self._baud,
                    before=before,
                    after=after,
                    through=self._relay.device if self._relay else None,
                    on_progress=on_progress,
                )
            except EsptoolError as error:
                if error.kind is not EsptoolFailure.NO_CONNECTION:
                    raise
                silence = error
            else:
                self._is_stub_left = after == _STUB_STAYS
                return output
        assert silence
        raise silence

    def _ways(self) -> Iterator[str]:
        """Get the chip into its loader, in one way after the other; yield the reset that esptool has to add."""
        if self._is_stub_left:
            self._is_stub_left = False
            yield _NO_RESET
        if self._is_by_hand:
            yield _NO_RESET
            self._reporter.prompt("hold BOOT (IO0 low) while you press RESET: the board must be in its boot loader")
            deadline = time.monotonic() + _BY_HAND_S
            while time.monotonic() < deadline:
                self._reporter.advance(0, 1)  # the reporter may end it
                yield _NO_RESET
        elif self._relay:
            for longer_s in _LONGER_S:
                self._relay.enter_loader(self._before, longer_s=longer_s)
                yield _NO_RESET
        else:
            yield self._before


@contextmanager
def restarting(line: SerialConnection, after: str, reporter: ProgressReporter) -> Iterator[None]:
    """Restart the chip after this context, in which a ChipWriter works on the connection.

    Args:
        line: The connection.
        after: As for `leave`. After an error only a `hard-reset` is tried.
        reporter: As for `leave`.

    Raises:
        PortError: The port is gone.
    """
    try:
        yield
    except BaseException:
        if after == _HARD_RESET:
            with suppress(BenchError):
                line.reopen()
                line.pulse_reset()
        raise
    leave(line, after, reporter)


def leave(line: SerialConnection, after: str, reporter: ProgressReporter) -> bool:
    """Restart a chip that is in its loader, so that it runs the program in its flash.

    Args:
        line: The connection, after the ChipWriter's context.
        after: esptool's `hard-reset`, or `no-reset`: the user does it. esptool's other ways do not work on an ESP32.
        reporter: Asked for the user's help where the port has no lines for it.

    Returns:
        True if the port did it; False if the user was asked to.

    Raises:
        PortError: The port is gone.
        BenchError: There is no user to do it, with an `Unattended` reporter.
    """
    is_reset = after != _NO_RESET and line.pulse_reset()
    if not is_reset:
        reporter.prompt("press RESET: the board must leave its boot loader")
    return is_reset


def _unexpected(output: str, what: str) -> EsptoolError:
    return EsptoolError(f"esptool did not print {what}: is it version 5?", EsptoolFailure.OTHER, output)
