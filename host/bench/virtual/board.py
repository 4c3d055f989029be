"""A virtual board: an ESP32's flash in a file, with MicroPython's unix port as its CPU.

Everything it remembers is in its folder: `flash.bin` is the flash, `board.json` what is burnt into
the chip, `console.log` all it ever said. What is written into `console.in` while it is on is typed on
its serial line.
"""

import json
import secrets
import shutil
from pathlib import Path
from typing import Self, TextIO

from bench import boards, paths
from bench.boards import BoardDefinition
from bench.errors import UsageError
from bench.flash import esp_image, filesystem, firmware
from bench.virtual.environment import Conditions
from bench.virtual.folder import BoardFolder
from bench.virtual.power import PowerCycle

_MAC_DIGITS = 12
_APP = 0x00


def mac_address(text: str = "") -> str:
    """A MAC as its 12 hex digits (colons may stand between), or a random one. Raises UsageError."""
    mac = text.replace(":", "").lower() or f"02{secrets.token_hex(5)}"
    if len(mac) != _MAC_DIGITS or not set(mac) <= set("0123456789abcdef"):
        raise UsageError("a MAC has 12 hex digits, e.g. 02:00:5e:00:53:01")
    return mac


class VirtualBoard(BoardFolder):
    """A board in a folder. `create` makes a blank one, `VirtualBoard(folder)` opens it again."""

    @classmethod
    def create(  # noqa: PLR0913 - a board's parts, by name
        cls,
        folder: Path,
        *,
        settings: bytes = b"",
        board: str = "esp32_generic",
        mac: str = "",
        files: dict[str, bytes] | None = None,
        blank: bool = False,
    ) -> Self:
        """Make a board with the firmware and `settings` in its file system, or (`blank`) with an erased flash.

        `mac` is as `mac_address` takes it. `files` are added to the firmware's own, or replace them
        (`{"main.py": ...}`). Raises UsageError if there is such a board already.
        """
        definition = boards.load(board)
        mac = mac_address(mac)
        if (folder / "board.json").exists():
            raise UsageError(f"board {folder.name} exists: choose another name, or delete {folder}")
        paths.private_folder(folder)
        paths.write_private(folder / "flash.bin", b"\xff" * definition.flash_size)
        paths.write_private(folder / "board.json", json.dumps({"board": board, "mac": mac}).encode())
        made = cls(folder)
        if not blank:
            made.install({**firmware.files(), "settings.json": settings, **(files or {})})
        return made

    def install(self, files: dict[str, bytes]) -> None:
        """Have MicroPython and exactly these files in its flash, and nothing else. The board is off."""
        definition = boards.load(self.definition)
        self.burn(_with_programs(filesystem.build(definition, files), definition))

    def burn(self, flash: bytes) -> None:
        """Have this in its flash, all of it. The board is off."""
        with (self.folder / "flash.bin").open("r+b") as file:  # in place: who serves its line has it open
            file.write(flash)

    def twin(self, folder: Path, *, mac: str = "") -> "VirtualBoard":
        """Another board with the flash that this one has now, and a MAC of its own; raises as `create` does."""
        mac = mac_address(mac)
        if (folder / "board.json").exists():
            raise UsageError(f"board {folder.name} exists: choose another name, or delete {folder}")
        paths.private_folder(folder)
        paths.private_file(folder / "flash.bin")
        shutil.copyfile(self.folder / "flash.bin", folder / "flash.bin")
        paths.write_private(folder / "board.json", json.dumps({"board": self.definition, "mac": mac}).encode())
        return VirtualBoard(folder)

    def flash(self) -> bytes:
        """The whole flash, as it is now."""
        return (self.folder / "flash.bin").read_bytes()

    def power_on(self, conditions: Conditions | None = None, *, lock: TextIO | None = None) -> PowerCycle:
        """Switch the board on. Raises BenchError if it is on already, unless one holds the `lock`."""
        return PowerCycle(self, conditions or Conditions(), lock)


def _with_programs(flash: bytes, board: BoardDefinition) -> bytes:
    """A flash whose bootloader and first program are there, as far as the chip looks before it starts them."""
    app = next(each for each in board.partitions if each.type == _APP)
    started = bytearray(flash)
    for offset in (board.image_offset, app.offset):
        started[offset] = esp_image.MAGIC
    return bytes(started)
