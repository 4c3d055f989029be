"""Access to a board's flash for tests: by its loader, which only a board on a serial line has."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import boards
from bench.dut.board import Board
from bench.dut.serial import PortBoard
from bench.dut.unsupported import CannotDo
from bench.errors import BenchError
from bench.flash import filesystem, images

_RUNS = "import sys,json\nprint(json.dumps([sys.platform,'.'.join(map(str,sys.implementation.version[:3]))]))"
_SILICON = "esp32"


@dataclass(frozen=True, kw_only=True)
class Flashed:
    """The result of writing a flash."""

    image: str
    """The version of MicroPython in the image."""
    image_sha256: str
    sent: int
    """The compressed size of the regions in bytes, which is what goes over the line."""
    micropython: str
    """The version that the board reports."""


class Flasher:
    """The flash of a board on a serial line. The board is off after each operation.

    For a board without a loader each operation raises CannotDo.
    """

    def __init__(self, board: Board) -> None:
        """Make a flasher for a board of any kind."""
        self._board = board

    def write(self, files: Mapping[str, bytes], image: Path | None = None, *, erase: bool = False) -> Flashed:
        """Write MicroPython and a new file system with exactly these files.

        Every region is verified. Then the board is started, and the version that it reports is compared; not with a
        virtual board, whose MicroPython is not the one in its flash.

        Args:
            files: Path without a leading slash -> content.
            image: The file of the image; None for that of the board's definition.
            erase: Erase the whole flash before.

        Raises:
            BenchError: There is no valid image, the loader does not answer, or another version runs.
            CannotDo: The board has no loader.
            OSError: The image's file cannot be read.
            ReplError: No MicroPython answers afterwards.
            UsageError: A file cannot be in the file system.
        """
        board, definition = self._on_a_line, self.definition
        found = images.find(definition, image)
        regions = [*images.parts(found.data, definition), *filesystem.regions(definition, dict(files))]
        with board.loader() as chip:
            chip.inspect()
            sent = chip.write(regions, erase=erase)
        board.installed = dict(files)
        board.power_on()
        with board.repl() as repl:
            platform, version = repl.run_json(_RUNS)
        board.power_off()
        if platform == _SILICON and version != found.facts.version:  # a virtual board runs the host's MicroPython
            raise BenchError(f"{board.name} runs MicroPython {version}, not {found.facts.version} that was written")
        return Flashed(
            image=found.facts.version,
            image_sha256=hashlib.sha256(found.data).hexdigest(),
            sent=sent,
            micropython=version,
        )

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return the content of the flash.

        Args:
            offset: The first byte.
            size: The number of bytes; None for the whole flash.

        Raises:
            BenchError: The loader does not answer.
            CannotDo: The board has no loader.
        """
        with self._on_a_line.loader() as chip:
            return chip.read(offset, size)

    def erase(self, partition: str = "") -> None:
        """Erase a partition, or the whole flash.

        Args:
            partition: The partition's label in the board's definition; "" for the whole flash.

        Raises:
            BenchError: There is no such partition, or the loader does not answer.
            CannotDo: The board has no loader.
        """
        place = self.definition.partition(partition) if partition else None
        with self._on_a_line.loader() as chip:
            if place:
                chip.erase(place.offset, place.size)
            else:
                chip.erase()

    @property
    def definition(self) -> boards.BoardDefinition:
        """The board's definition. Raises CannotDo if the board has no loader."""
        return self._on_a_line.definition

    @property
    def _on_a_line(self) -> PortBoard:
        if not isinstance(self._board, PortBoard):
            raise CannotDo(f"{self._board.name} has no loader: --bench-target virtual, or a board on a port")
        return self._board
