"""A program for an ESP32, as its bootloader and every app partition hold one: ESP-IDF's image format.

A header of 24 bytes (magic E9, number of segments, flash mode, flash size and frequency, entry point; chip
at 12; whether a digest follows at 23), the segments (address, length, bytes), FF or 00 up to a checksum in
the last byte of 16, and the SHA-256 of all before it.
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
class Program:
    """What a program's header says; `end` is behind its last byte. An unknown chip or mode is empty."""

    chip: str
    flash_mode: str
    flash_size: int
    end: int


def read(data: bytes, at: int) -> Program:
    """The program that begins here. Raises BenchError if there is none, or not the whole of it."""
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
    return Program(
        chip=next((each.name for each in CHIPS.values() if each.image_id == chip), ""),
        flash_mode=_MODES.get(mode, ""),
        flash_size=_MB << (size >> 4),
        end=digest,
    )
