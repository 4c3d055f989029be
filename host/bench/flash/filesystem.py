"""Images of a board's flash, with partition table and LittleFS file system."""

from collections.abc import Callable
from typing import Any

import littlefs

from bench.boards import BoardDefinition, Partition
from bench.errors import UsageError
from bench.flash import partitions

BLOCK_SIZE = 4096
HEAD = 2 * BLOCK_SIZE
"""The size of the first two blocks, which have LittleFS' superblock: without it there is no file system."""
MAGIC = b"littlefs"
"""Bytes in each superblock."""

Region = tuple[int, bytes]
"""An offset into the flash in bytes, and the content from there on."""


def build(board: BoardDefinition, files: dict[str, bytes]) -> bytes:
    """Return a flash with nothing but the partition table, and files in its partition `vfs`.

    Args:
        board: The definition.
        files: Path without a leading slash -> content.

    Returns:
        The whole flash; FF where it is blank.

    Raises:
        UsageError: The file system cannot hold a file, by its name or its size.
    """
    image = bytearray(b"\xff" * board.flash_size)
    table = partitions.encode(board.partitions)
    image[partitions.TABLE_OFFSET : partitions.TABLE_OFFSET + len(table)] = table
    place = board.partition("vfs")
    image[place.offset : place.offset + place.size] = filesystem(place.size, files)
    return bytes(image)


def filesystem(size: int, files: dict[str, bytes]) -> bytes:
    """Return a LittleFS image with the geometry that MicroPython's ESP32 images mount.

    Its version on disk is 2.1, which MicroPython mounts from 1.21 on. (2.0 would do as well, but the
    first write of a newer LittleFS rewrites the superblock then: three flash operations more.)

    Args:
        size: Bytes, a multiple of 4096.
        files: Path without a leading slash -> content.

    Raises:
        UsageError: The file system cannot hold a file, by its name or its size.
    """
    fs = _littlefs(size)
    for path, content in files.items():
        parents = path.split("/")[:-1]
        try:
            for depth in range(len(parents)):
                fs.makedirs("/".join(parents[: depth + 1]), exist_ok=True)
            with fs.open(path, "wb") as file:
                file.write(content)
        except (littlefs.LittleFSError, OSError) as error:
            raise UsageError(f"a board cannot hold a file {path} ({str(error) or type(error).__name__})") from error
    return bytes(fs.context.buffer)


def regions(board: BoardDefinition, files: dict[str, bytes]) -> list[Region]:
    """Return the regions of a new file system, the one that makes it valid last.

    LittleFS reads no block that it did not write, so the unused end stays as it is.

    Args:
        board: The definition, for its partition `vfs`.
        files: Path without a leading slash -> content.

    Returns:
        Offsets into the flash and contents, of whole blocks: all but the superblocks, then those.

    Raises:
        UsageError: The file system cannot hold a file, by its name or its size.
    """
    place = board.partition("vfs")
    content = filesystem(place.size, files).rstrip(b"\xff")
    used = -(-len(content) // BLOCK_SIZE) * BLOCK_SIZE
    content = content.ljust(used, b"\xff")
    return [(place.offset + HEAD, content[HEAD:]), (place.offset, content[:HEAD])]


def read_files(flash: bytes) -> dict[str, bytes]:
    """Return all files in a flash's partition `vfs`, path without a leading slash -> content.

    Args:
        flash: The whole flash of a board.

    Raises:
        littlefs.LittleFSError: The file system is damaged.
        BenchError: There is no partition table.
    """
    place = vfs(flash)
    # what is only read needs no geometry but the blocks', and is read a block at a time
    fs = _littlefs(place.size, flash[place.offset : place.offset + place.size], unit=BLOCK_SIZE)
    found = {}
    for folder, _, names in fs.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}".lstrip("/")
            with fs.open(path, "rb") as file:
                found[path] = bytes(file.read())
    return found


def change(flash: bytes, work: Callable[[littlefs.LittleFS], None]) -> bytes:
    """Return a copy of a flash with changes to its file system.

    Args:
        flash: The whole flash before the changes.
        work: Makes the changes on the mounted file system.

    Raises:
        littlefs.LittleFSError: The file system is damaged.
        BenchError: There is no partition table.
    """
    place = vfs(flash)
    fs = _littlefs(place.size, flash[place.offset : place.offset + place.size])
    work(fs)
    return flash[: place.offset] + bytes(fs.context.buffer) + flash[place.offset + place.size :]


def vfs(flash: bytes) -> Partition:
    """Return the partition with the file system. Raises BenchError if there is no partition table."""
    table = flash[partitions.TABLE_OFFSET : partitions.TABLE_OFFSET + partitions.TABLE_SIZE]
    return next(each for each in partitions.decode(table) if each.label == "vfs")


class _Blocks(littlefs.UserContext):
    """The bytes of a file system. The library's own class asks for a logger at each of its thousands of reads."""

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytearray:  # noqa: ARG002
        start = block * BLOCK_SIZE + off
        return self.buffer[start : start + size]

    def prog(self, cfg: Any, block: int, off: int, data: bytes) -> int:  # noqa: ARG002
        start = block * BLOCK_SIZE + off
        self.buffer[start : start + len(data)] = data
        return 0

    def erase(self, cfg: Any, block: int) -> int:  # noqa: ARG002
        self.buffer[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE] = b"\xff" * BLOCK_SIZE
        return 0


def _littlefs(size: int, content: bytes | None = None, *, unit: int = 32) -> littlefs.LittleFS:
    """Mount a file system of `size` bytes, read and written `unit` bytes at a time; without `content` a new one."""
    fs = littlefs.LittleFS(
        context=_Blocks(buffer=bytearray(b"\xff" * size if content is None else content)),
        block_size=BLOCK_SIZE,
        block_count=size // BLOCK_SIZE,
        read_size=unit,
        prog_size=unit,
        lookahead_size=32,
        mount=False,
    )
    if content is None:
        fs.format()
    fs.mount()
    return fs
