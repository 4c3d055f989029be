"""A test's way to write a board's flash: by its loader, which only a board on a line has."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import boards
from bench.dut.board import Board
from bench.dut.serial import PortBoard
from bench.dut.unsupported import CannotDo
from bench.errors import BenchError
from bench.flash import chip_writer, images

_RUNS = "import sys,json\nprint(json.dumps([sys.platform,'.'.join(map(str,sys.implementation.version[:3]))]))"
_SILICON = "esp32"


@dataclass(frozen=True, kw_only=True)
class Flashed:
    """What was written. `sent`: bytes that went over the line; `micropython`: what the board says that it runs."""

    image: str
    image_sha256: str
    sent: int
    micropython: str


class Flasher:
    """`board` has no power cycle of its own meanwhile: it is off after each of these."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def write(self, files: Mapping[str, bytes], image: Path | None = None, *, erase: bool = False) -> Flashed:
        """Write MicroPython and a new file system with exactly these files; `erase` wipes the whole flash before.

        `image`: the definition's if not given. Every region is verified; what runs then is asked and compared. Raises
        BenchError, CannotDo for a board without a loader.
        """
        board, definition = self._on_a_line, self.definition
        found = images.find(definition, image)
        regions = [*images.parts(found.data, definition), *chip_writer.filesystem_regions(definition, dict(files))]
        with board.loader() as chip:
            chip.inspect()
            sent = chip.write(regions, erase=erase)
        board.installed = dict(files)
        board.power_on()
        with board.repl() as repl:
            platform, version = repl.run_json(_RUNS)
        board.power_off()
        if platform == _SILICON and version != found.facts.version:  # a virtual board runs what it runs
            raise BenchError(f"{board.name} runs MicroPython {version}, not {found.facts.version} that was written")
        return Flashed(
            image=found.facts.version,
            image_sha256=hashlib.sha256(found.data).hexdigest(),
            sent=sent,
            micropython=version,
        )

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """What the flash holds; without a size, all of it."""
        with self._on_a_line.loader() as chip:
            return chip.read(offset, size)

    def erase(self, partition: str = "") -> None:
        """Erase a partition, or the whole flash."""
        place = self.definition.partition(partition) if partition else None
        with self._on_a_line.loader() as chip:
            if place:
                chip.erase(place.offset, place.size)
            else:
                chip.erase()

    @property
    def definition(self) -> boards.BoardDefinition:
        """What the board is."""
        return self._on_a_line.definition

    @property
    def _on_a_line(self) -> PortBoard:
        if not isinstance(self._board, PortBoard):
            raise CannotDo(f"{self._board.name} has no loader: --target virtual, or a board on a port")
        return self._board
