"""The flash chip of a virtual board, as its loader sees it."""

import hashlib
import mmap
from collections.abc import Collection
from pathlib import Path
from typing import Self

SECTOR = 4096
BLOCK = 65536
_ERASED = b"\xff"


class PulledOut(Exception):
    """The board lost its power in the middle of a write."""


class NorFlash:
    """NOR flash in a file: erasing sets whole sectors to FF, programming only clears bits. A context manager."""

    def __init__(self, path: Path, *, bad_sectors: Collection[int] = (), pull_after: int | None = None) -> None:
        """Map the flash's file into memory.

        Args:
            path: The file, which has the flash's size.
            bad_sectors: Numbers of sectors of 4 KiB, from 0, that keep their content whatever is done.
            pull_after: The number of programmed bytes after which the power is gone, once: the write that reaches it
                is done in part and raises PulledOut. None: never.
        """
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._bad_sectors = bad_sectors
        self._left = pull_after

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.close()

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self._memory)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer if the flash ends before."""
        return self._memory[offset : offset + length]

    def md5(self, offset: int, length: int) -> bytes:
        """Return the MD5 of `length` bytes from `offset` on, as its 16 bytes."""
        return hashlib.md5(self.read(offset, length), usedforsecurity=False).digest()

    def erase(self, offset: int, length: int) -> None:
        """Erase every sector that has a byte of this range.

        Args:
            offset: The first byte.
            length: The number of bytes.
        """
        for sector in range(offset // SECTOR, -(-(offset + length) // SECTOR)):
            if sector not in self._bad_sectors:
                self._memory[sector * SECTOR : (sector + 1) * SECTOR] = _ERASED * SECTOR

    def program(self, offset: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`.

        Args:
            offset: The first byte to program.
            data: The bytes, all within the flash.

        Raises:
            PulledOut: The power went in this write (`pull_after`).
        """
        at = offset
        for part in _by_sector(offset, data[: self._left]):
            if at // SECTOR not in self._bad_sectors:
                self._clear(at, part)
            at += len(part)
        if self._left is not None:
            self._left -= at - offset
            if not self._left:
                self._left = None
                raise PulledOut

    def _clear(self, at: int, data: bytes) -> None:
        old = self._memory[at : at + len(data)]
        if old.count(_ERASED) != len(old):
            both = int.from_bytes(old, "big") & int.from_bytes(data, "big")
            data = both.to_bytes(len(data), "big")
        self._memory[at : at + len(data)] = data


def _by_sector(offset: int, data: bytes) -> list[bytes]:
    parts = []
    while data:
        length = SECTOR - offset % SECTOR
        parts.append(data[:length])
        data = data[length:]
        offset += length
    return parts
