"""ESP-IDF's image format, of the bootloader and of the program in every app partition.

A header of 24 bytes (magic E9, number of segments, flash mode, flash size and frequency, entry point; chip
at 12; whether a digest follows at 23), the segments (address, length, bytes), FF or 00 up to a checksum in
the last byte of 16, and the SHA-256 of all before it.

Source: ESP-IDF, "App Image Format"; esptool, "Firmware Image Format".
"""

import hashlib
import struct
from dataclasses import dataclass

from bench.boards import CHIPS
from bench.errors import BenchError

MAGIC = 0xE9
_HEADER = struct.Struct("<BBBBI4xHBHH4xB")
_SEGMENT = struct.Struct("<II")
_MODES = {0: "qio", 1: "qout", 2: "dio", 3: "dout"}
_MB = 0x100000
_DIGEST = 32


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """The header of a program. `flash_size` is in bytes, `end` the offset behind its last byte.

    An unknown chip or mode is empty.
    """

    chip: str
    flash_mode: str
    flash_size: int
    end: int


def read(data: bytes, at: int) -> ImageHeader:
    """Read the header of a program, and check that the program is complete.

    Args:
        data: The file or flash that it is in.
        at: The offset at which it begins, in bytes.

    Returns:
        The header. Its `end` counts from the start of `data`.

    Raises:
        BenchError: There is none, it is cut off, or its own SHA-256 differs.
    """
    if not 0 <= at < len(data) or data[at] != MAGIC:
        raise BenchError(f"no program at {at:#x}")
    try:
        _, segments, mode, size, _, chip, *_, hashed = _HEADER.unpack_from(data, at)
        end = at + _HEADER.size
        for _ in range(segments):
            _, length = _SEGMENT.unpack_from(data, end)
            end += _SEGMENT.size + length
    except struct.error:
        raise BenchError(f"the program at {at:#x} is cut off") from None
    end += 16 - (end - at) % 16
    digest = end + _DIGEST if hashed else end
    if digest > len(data):
        raise BenchError(f"the program at {at:#x} is cut off")
    if hashed and hashlib.sha256(data[at:end]).digest() != data[end:digest]:
        raise BenchError(f"the program at {at:#x} is damaged: its own SHA-256 differs")
    return ImageHeader(
        chip=next((each.name for each in CHIPS.values() if each.image_id == chip), ""),
        flash_mode=_MODES.get(mode, ""),
        flash_size=_MB << (size >> 4),
        end=digest,
    )
