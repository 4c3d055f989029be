"""A board's flash through its chip's loader: looked at, and written, by esptool."""

import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from bench import house
from bench.boards import Board
from bench.errors import BenchError
from bench.flash import esptool, image, relay
from bench.flash.esptool import EsptoolError, Kind, Progress
from bench.flash.relay import Relay

Region = tuple[int, bytes]
"""An offset into the flash, and what belongs there."""

_HEAD = 2 * image.BLOCK_SIZE  # LittleFS has its superblock in the first two blocks
_LITTLEFS = b"littlefs"
_LONGER_S = (0.0, 0.5, 0.0)  # how long IO0 is held beyond what is usual, in attempts to connect
_MAC = re.compile(r"^(?:BASE )?MAC:\s+((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\s*$", re.MULTILINE | re.IGNORECASE)
_VERIFIED = re.compile(r"Hash of data verified|verification skipped|already in flash|skipping", re.IGNORECASE)


class Loader:
    """A board whose chip esptool reaches; a context manager. What is written holds secrets: `folder` is private."""

    def __init__(self, *, port: str, board: Board, baud: int, before: str, folder: Path) -> None:
        """Take the port, if that makes esptool faster. Raises PortTrouble."""
        self.port = port
        self.board = board
        self._baud = baud
        self._before = before
        self._folder = folder
        self._relay = Relay(port) if relay.is_of_use(port, baud) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._relay:
            self._relay.close()

    def look(self) -> tuple[str, bool]:
        """The MAC as 12 hex digits, and whether there is a file system where the board's belongs.

        Raises EsptoolError, of the kind WRONG_CHIP if the definition is for another one.
        """
        file = self._folder / "head.bin"
        offset = self.board.partition("vfs").offset
        output = self._run(["read-flash", hex(offset), hex(_HEAD), str(file)])
        if not (mac := _MAC.search(output)):
            raise BenchError(f"{self.port}: esptool did not say the chip's MAC: is it version 5?")
        return mac[1].replace(":", "").lower(), _LITTLEFS in file.read_bytes()

    def forget_filesystem(self) -> None:
        """Erase what makes the file system one."""
        offset = self.board.partition("vfs").offset
        self._run(["erase-region", hex(offset), hex(_HEAD)])

    def write(self, regions: Sequence[Region], on_progress: Callable[[int, int], None], *, erase: bool = False) -> int:
        """Write regions in this order, verified by MD5; what the flash holds already is not sent.

        `erase` wipes the whole flash before. `on_progress` is told the bytes that went over the line, and
        how many there are, which is also returned. Raises EsptoolError; nothing is erased if the flash is too small.
        """
        weights = [len(zlib.compress(content, 9)) for _, content in regions]
        through = [0.0] * len(regions)

        def progress(line: Progress) -> None:
            if line.percent is None or line.address is None:
                return
            for index, (offset, content) in enumerate(regions):
                if offset <= line.address <= offset + len(content):
                    through[index] = max(through[index], line.percent / 100)
                    break
            on_progress(round(sum(map(float.__mul__, through, map(float, weights)))), sum(weights))

        files = []
        for number, (offset, content) in enumerate(regions):
            file = self._folder / f"{number}.bin"
            house.write_private(file, content)
            files += [hex(offset), str(file)]
        options = ["--erase-all"] if erase else ["--skip-flashed"]
        options += ["--flash-mode", self.board.flash_mode, "--flash-size", f"{self.board.flash_size >> 20}MB"]
        self._run(["write-flash", *options, *files], progress)
        return sum(weights)

    def _run(self, command: list[str], on_progress: Callable[[Progress], None] | None = None) -> str:
        if self._relay is None or self._before == "no-reset":
            return self._esptool(command, on_progress)
        for longer_s in _LONGER_S[:-1]:
            self._relay.enter_loader(self._before, longer_s=longer_s)
            try:
                return self._esptool(["--connect-attempts", "1", *command], on_progress)
            except EsptoolError as error:
                if error.kind is not Kind.NO_CONNECTION:
                    raise
        self._relay.enter_loader(self._before, longer_s=_LONGER_S[-1])
        return self._esptool(command, on_progress)

    def _esptool(self, command: list[str], on_progress: Callable[[Progress], None] | None) -> str:
        # the chip stays in its loader, and what comes next resets it
        return esptool.run(
            self.port,
            ["--chip", self.board.chip, *command],
            baud=self._baud,
            before=self._before,
            after="no-reset",
            through=self._relay.device if self._relay else None,
            on_progress=on_progress,
        )


def filesystem(board: Board, files: dict[str, bytes]) -> list[Region]:
    """The regions of a new file system, the one that makes it valid last.

    LittleFS reads no block that it did not write, so the unused end stays as it is.
    """
    place = board.partition("vfs")
    content = image.filesystem(place.size, files).rstrip(b"\xff")
    used = -(-len(content) // image.BLOCK_SIZE) * image.BLOCK_SIZE
    content = content.ljust(used, b"\xff")
    return [(place.offset + _HEAD, content[_HEAD:]), (place.offset, content[:_HEAD])]
