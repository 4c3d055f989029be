"""A board's flash through its chip's loader: looked at, read, erased and written, by esptool."""

import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import paths
from bench.boards import Board
from bench.errors import BenchError
from bench.flash import esptool, filesystem
from bench.flash.esptool import EsptoolError, EsptoolFailure, EsptoolLine
from bench.flash.progress import ProgressReporter
from bench.serial import ports, rfc2217_pty
from bench.serial.connection import SerialConnection
from bench.serial.rfc2217_pty import Relay

Region = tuple[int, bytes]
"""An offset into the flash, and what belongs there."""

_HEAD = 2 * filesystem.BLOCK_SIZE  # LittleFS has its superblock in the first two blocks
_LITTLEFS = b"littlefs"
_SEEN = filesystem.BLOCK_SIZE + 16  # as far as the second block's name
_LONGER_S = (0.0, 0.5, 0.0)  # how long IO0 is held beyond what is usual, in attempts to connect
_NO_RESET, _STUB_STAYS = "no-reset", "no-reset-stub"
_ONCE = ["--connect-attempts", "1"]
_BY_HAND_S = 120.0  # what a user has to find the buttons
_MAC = re.compile(r"^(?:BASE )?MAC:\s+((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\s*$", re.MULTILINE | re.IGNORECASE)
_CHIP = re.compile(r"^Connected to (ESP32[\w-]*) on ", re.MULTILINE)
_SIZE = re.compile(r"^Detected flash size: (\d+)MB", re.MULTILINE)


class ChipWriter:
    """A board whose chip esptool reaches; a context manager. What is written holds secrets: `folder` is private.

    Where the line cannot get the chip into its loader, or `before` is `no-reset`, the user is asked to.
    """

    def __init__(  # noqa: PLR0913 - all that there is to it, by name
        self,
        line: SerialConnection,
        *,
        board: Board,
        reporter: ProgressReporter,
        folder: Path,
        baud: int = 0,
        before: str = "",
    ) -> None:
        """The board on an open line, which is the loader's alone until the end of the context.

        `baud` 0 and an empty `before` are the definition's.
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
        """The MAC as 12 hex digits, and whether there is a file system where the board's belongs.

        Raises EsptoolError, of the kind WRONG_CHIP if the definition is for another one.
        """
        file = self._folder / "head.bin"
        offset = self.board.partition("vfs").offset
        # at the loader's first speed, for what comes next to find the stub where it left it
        output = self._run(["read-flash", hex(offset), hex(_SEEN), str(file)], baud=ports.BAUD, after=_STUB_STAYS)
        if not (mac := _MAC.search(output)):
            raise BenchError(f"{self.port}: esptool did not say the chip's MAC: is it version 5?")
        return mac[1].replace(":", "").lower(), _LITTLEFS in file.read_bytes()

    def identify(self) -> tuple[str, str, int]:
        """The MAC as 12 hex digits, the chip as definitions name it, and the flash's size in MB. Raises EsptoolError.

        For a board whose definition has the chip `auto`: nobody knows it yet.
        """
        output = self._run(["flash-id"])
        mac, chip, size = _MAC.search(output), _CHIP.search(output), _SIZE.search(output)
        if not mac or not chip or not size:
            raise BenchError(f"{self.port}: esptool did not say chip, MAC and size of the flash: is it version 5?")
        return mac[1].replace(":", "").lower(), chip[1].replace("-", "").lower(), int(size[1])

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """What the flash holds, verified by MD5; without a size, all of it. Raises EsptoolError."""
        file = self._folder / "read.bin"
        total = self.board.flash_size if size is None else size

        def progress(line: EsptoolLine) -> None:
            if line.percent is not None:
                self._reporter.advance(round(total * line.percent / 100), total)

        self._run(["read-flash", hex(offset), "ALL" if size is None else hex(size), str(file)], progress)
        return file.read_bytes()

    def erase(self, offset: int = 0, size: int | None = None) -> None:
        """Erase whole sectors; without a size, the whole flash. Raises EsptoolError."""
        self._run(["erase-flash"] if size is None else ["erase-region", hex(offset), hex(size)])

    def erase_filesystem_head(self) -> None:
        """Erase what makes the file system one."""
        self.erase(self.board.partition("vfs").offset, _HEAD)

    def write(self, regions: Sequence[Region], *, erase: bool = False) -> int:
        """Write regions in this order, verified by MD5; what the flash holds already is not sent.

        `erase` wipes the whole flash before. The teller is told the bytes that went over the line, and
        how many there are, which is also returned. Raises EsptoolError; nothing is erased if the flash is too small.
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

    def _run(
        self,
        command: list[str],
        on_progress: Callable[[EsptoolLine], None] | None = None,
        *,
        baud: int = 0,
        after: str = _NO_RESET,
    ) -> str:
        """Run esptool, and leave the chip in its loader. Returns what it said."""
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
        """Get the chip into its loader, in one way after the other, and say what reset esptool has to add."""
        if self._is_stub_left:
            self._is_stub_left = False
            yield _NO_RESET
        if self._is_by_hand:
            yield _NO_RESET
            self._reporter.prompt("hold BOOT (IO0 low) while you press RESET: the board has to be in its loader")
            deadline = time.monotonic() + _BY_HAND_S
            while time.monotonic() < deadline:
                self._reporter.advance(0, 1)  # who follows may end it
                yield _NO_RESET
        elif self._relay:
            for longer_s in _LONGER_S:
                self._relay.enter_loader(self._before, longer_s=longer_s)
                yield _NO_RESET
        else:
            yield self._before


def leave(line: SerialConnection, after: str, reporter: ProgressReporter) -> bool:
    """Have a chip that is in its loader run what is in its flash; where the line cannot, ask the user to.

    `after` is esptool's `hard-reset`, or `no-reset`: the user does it. esptool itself knows no other way that works
    on an ESP32. Returns whether the line could. Raises PortError.
    """
    could = after != _NO_RESET and line.pulse_reset()
    if not could:
        reporter.prompt("press RESET: the board has to leave its loader")
    return could


def filesystem_regions(board: Board, files: dict[str, bytes]) -> list[Region]:
    """The regions of a new file system, the one that makes it valid last.

    LittleFS reads no block that it did not write, so the unused end stays as it is.
    """
    place = board.partition("vfs")
    content = filesystem.filesystem(place.size, files).rstrip(b"\xff")
    used = -(-len(content) // filesystem.BLOCK_SIZE) * filesystem.BLOCK_SIZE
    content = content.ljust(used, b"\xff")
    return [(place.offset + _HEAD, content[_HEAD:]), (place.offset, content[:_HEAD])]
