"""A virtual board: an ESP32's flash in a file, with MicroPython's unix port as its CPU.

Its whole state is in its folder: `flash.bin` is the flash, `board.json` the data burnt into the chip, `console.log`
everything that it ever wrote to its console. Bytes that are written into `console.in` while it is on are typed on its
serial line.
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
    """Return a MAC as its 12 hex digits.

    Args:
        text: 12 hex digits, with or without colons; empty: a random, locally administered MAC (02...).

    Returns:
        The digits in lower case, without colons.

    Raises:
        UsageError: The text is not a MAC.
    """
    mac = text.replace(":", "").lower() or f"02{secrets.token_hex(5)}"
    if len(mac) != _MAC_DIGITS or not set(mac) <= set("0123456789abcdef"):
        raise UsageError("a MAC has 12 hex digits, e.g. 02:00:5e:00:53:01")
    return mac


class VirtualBoard(BoardFolder):
    """A board in a folder. `create` makes a new one, `VirtualBoard(folder)` opens it again."""

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
        """Make a board with the firmware in its file system, or with an erased flash.

        Args:
            folder: The board's folder, which is made; its name is that of the board.
            settings: The content of its settings.json.
            board: The name of its definition in boards/.
            mac: As for `mac_address`.
            files: Path -> content; added to the firmware's own, or in place of them (`{"main.py": ...}`).
            blank: True to leave the flash erased; `settings` and `files` are not used then.

        Returns:
            The board, which is off.

        Raises:
            UsageError: The folder has a board already, there is no such definition, the MAC is not one, or the files
                do not fit into the file system.
            BenchError: A file of the firmware does not compile.
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
        """Write MicroPython and exactly these files into its flash. The board must be off.

        Args:
            files: Path -> content.

        Raises:
            UsageError: The files do not fit into the file system.
        """
        definition = boards.load(self.definition)
        self.burn(_with_programs(filesystem.build(definition, files), definition))

    def burn(self, flash: bytes) -> None:
        """Write its whole flash. The board must be off."""
        with (self.folder / "flash.bin").open("r+b") as file:  # in place: the server of its line has it open
            file.write(flash)

    def twin(self, folder: Path, *, mac: str = "") -> "VirtualBoard":
        """Return a new board with a copy of this one's flash, and a MAC of its own.

        Args:
            folder: The new board's folder, which is made.
            mac: As for `mac_address`.

        Raises:
            UsageError: The folder has a board already, or the MAC is not one.
        """
        mac = mac_address(mac)
        if (folder / "board.json").exists():
            raise UsageError(f"board {folder.name} exists: choose another name, or delete {folder}")
        paths.private_folder(folder)
        paths.private_file(folder / "flash.bin")
        shutil.copyfile(self.folder / "flash.bin", folder / "flash.bin")
        paths.write_private(folder / "board.json", json.dumps({"board": self.definition, "mac": mac}).encode())
        return VirtualBoard(folder)

    def flash(self) -> bytes:
        """Return the whole flash, as it is now."""
        return (self.folder / "flash.bin").read_bytes()

    def power_on(self, conditions: Conditions | None = None, *, lock: TextIO | None = None) -> PowerCycle:
        """Switch the board on.

        Args:
            conditions: The environment of this power cycle; None: the defaults of `Conditions`.
            lock: The board's lock, if the caller has it; None: it is acquired.

        Returns:
            The power cycle, a context manager that cuts the power at its end.

        Raises:
            BenchError: The board is on already, or MicroPython is not installed.
        """
        return PowerCycle(self, conditions or Conditions(), lock)


def _with_programs(flash: bytes, board: BoardDefinition) -> bytes:
    """Return a flash with a bootloader and a first program, as far as the chip checks before it starts them."""
    app = next(each for each in board.partitions if each.type == _APP)
    started = bytearray(flash)
    for offset in (board.image_offset, app.offset):
        started[offset] = esp_image.MAGIC
    return bytes(started)
