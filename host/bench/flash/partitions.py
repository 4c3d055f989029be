"""The partition table at 0x8000 of the flash, in ESP-IDF's binary format (ESP-IDF: "Partition Tables").

32 bytes an entry, little-endian: magic AA 50, type, subtype, offset, size, label[16], flags; then an
entry EB EB with the MD5 of all before it; then FF to the end of the sector.
"""

import hashlib
import struct

from bench.boards import Partition
from bench.errors import BenchError

TABLE_OFFSET = 0x8000
TABLE_SIZE = 0xC00
_ENTRY = struct.Struct("<2sBBII16sI")
_MAGIC = b"\xaa\x50"
_MD5_MAGIC = b"\xeb\xeb" + b"\xff" * 14


def encode(partitions: tuple[Partition, ...]) -> bytes:
    """Return the bytes of a table, `TABLE_SIZE` long."""
    table = b"".join(
        _ENTRY.pack(_MAGIC, each.type, each.subtype, each.offset, each.size, each.label.encode(), 0)
        for each in partitions
    )
    table += _MD5_MAGIC + hashlib.md5(table, usedforsecurity=False).digest()
    return table.ljust(TABLE_SIZE, b"\xff")


def decode(raw: bytes) -> tuple[Partition, ...]:
    """Return the entries of a partition table.

    Args:
        raw: The bytes from the start of the table on.

    Raises:
        BenchError: There is no table, or its MD5 is wrong or missing.
    """
    found = []
    for at in range(0, len(raw) - _ENTRY.size + 1, _ENTRY.size):
        entry = raw[at : at + _ENTRY.size]
        if entry[:2] == _MAGIC:
            _, kind, subtype, offset, size, label, _ = _ENTRY.unpack(entry)
            found.append(Partition(label.rstrip(b"\0").decode(errors="backslashreplace"), kind, subtype, offset, size))
        elif entry[:16] == _MD5_MAGIC and entry[16:] == hashlib.md5(raw[:at], usedforsecurity=False).digest():
            return tuple(found)
        else:
            break
    raise BenchError("no partition table in this flash, or a damaged one: flash the board again")
