"""Writes the tree of a package: what is the same in the flash already is copied, the rest is fetched.

A file is complete when it has its size and its hash, and is then never fetched again: so an update that was
interrupted, however often, goes on where it was.
"""

import binascii
import errno
import hashlib
import os

import deflate
from micropython import const

from firstboot import board, memory
from firstboot.update import package
from firstboot.update.chunks import Chunks
from firstboot.update.errors import Refused

LIST = "/update.list"
_WINDOW = const(10)
_PIECE = const(256)
_BLOCK = const(4096)
# Blocks that stay free: for the record, the vault, and what LittleFS needs to move things.
_SPARE_BLOCKS = const(16)
_DIRECTORY = const(0x4000)


def store_list(chunks: Chunks, values: dict[str, str]) -> None:
    """Have the package's list in the flash.

    Raises:
        Refused: it is not the one that the head is about.
        OSError: the flash did not take it.
        Delayed, NetworkError: as `chunks`.
    """
    _, size, digest, length = package.list_of(values)
    if not is_same(LIST, size, digest):
        fetch(LIST, chunks, (LIST, size, digest, int(values["start"]), length))


def check(tree: str, values: dict[str, str], total: int) -> int:
    """Check the whole list, and that there is room for its files, before the first is written; return their bytes.

    Raises:
        Refused: there is not, or the list has what it must not have, or a main.py that this board would not run.
    """
    needed = found = 0
    for name, size, *_ in package.files(LIST, values, total):  # type: ignore[attr-defined]
        board.idle()
        if name == "main.py" and not _starts_updates():
            raise Refused("main.py was put on this board by cable, and an update cannot take its place")
        found += size
        needed += -(-size // _BLOCK)
    facts = os.statvfs("/")
    free = facts[3] * facts[1] // _BLOCK - _SPARE_BLOCKS
    for path in _walk(tree, ""):  # type: ignore[attr-defined]
        free += -(-_size(tree + "/" + path) // _BLOCK)
    if needed > free:
        raise Refused("no room: the update needs %d KiB, and %d are free" % (needed * 4, max(free, 0) * 4))
    return found


def _starts_updates() -> bool:
    """Return whether the main.py of the flash is the one that starts an update's."""
    try:
        with open("/main.py", "rb") as file:
            return b"import main" in file.read(512)
    except OSError:
        return False


def clear(tree: str, values: dict[str, str], total: int) -> None:
    """Remove what is in a tree and not in the list."""
    for path in _walk(tree, ""):  # type: ignore[attr-defined]
        for each in package.files(LIST, values, total):  # type: ignore[attr-defined]
            if each[0] == path:
                break
        else:
            board.idle()
            os.remove(tree + "/" + path)


def file(tree: str, sources: tuple[str, ...], chunks: Chunks, entry: tuple[str, int, str, int, int]) -> None:
    """Have one file in a tree: it is there, or the same in another tree, or fetched.

    Args:
        tree: the folder of the tree.
        sources: folders that may have it.
        chunks: the package.
        entry: as `package.files` yields it.

    Raises:
        Refused: as `fetch`.
        OSError: the flash did not take it.
        Delayed, NetworkError: as `chunks`.
    """
    path, size, digest = entry[:3]
    target = tree + "/" + path
    if is_same(target, size, digest):
        return
    _make_folders(target)
    for source in sources:
        if is_same(source + "/" + path, size, digest):
            with open(source + "/" + path, "rb") as content:
                write(target, content, size)
            if is_same(target, size, digest):
                return
    fetch(target, chunks, entry)


def fetch(target: str, chunks: Chunks, entry: tuple[str, int, str, int, int]) -> None:
    """Write a part of the package to a file, unpacked; nothing of it stays if it is not what it should be.

    Raises:
        Refused: what came has another hash, or the flash has not what was written.
        OSError: the flash did not take it.
        Delayed, NetworkError: as `chunks`.
    """
    path, size, digest, offset, length = entry
    chunks.seek(offset, length)
    content = chunks if length == size else deflate.DeflateIO(chunks, deflate.RAW, _WINDOW)
    try:
        write(target, content, size)
        is_right = (length == size or not content.read(1)) and is_same(target, size, digest)
    except (ValueError, EOFError):
        is_right = False
    except OSError as error:
        if error.errno != errno.EINVAL:  # deflate's word for what it cannot unpack
            raise
        is_right = False
    if not is_right:
        os.remove(target)
        raise Refused("%s in the package or in the flash is damaged" % path)


def write(path: str, content: object, size: int) -> None:
    """Write `size` bytes of a stream to a file, or fewer if it ends."""
    with open(path, "wb") as output:
        piece = memoryview(bytearray(_PIECE))
        while size:
            board.idle()
            count = content.readinto(piece[: min(size, _PIECE)])  # type: ignore[attr-defined]
            if not count:
                return
            output.write(piece[:count])
            size -= count


def is_same(path: str, size: int, digest: str) -> bool:
    """Return whether a file is there with this size and SHA-256."""
    if _size(path) != size:
        return False
    found = hashlib.sha256()
    piece = memoryview(bytearray(_PIECE))
    try:
        with open(path, "rb") as content:
            while True:
                board.idle()
                count = content.readinto(piece)
                if not count:
                    return binascii.hexlify(found.digest()).decode() == digest
                found.update(piece[:count])
    except OSError as error:
        memory.check(error)
        return False  # a block that cannot be read


def _size(path: str) -> int:
    try:
        facts = os.stat(path)
    except OSError:
        return -1
    return -1 if facts[0] & _DIRECTORY else facts[6]


def _make_folders(path: str) -> None:
    at = path.find("/", 1)
    while at > 0:
        try:
            os.mkdir(path[:at])
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        at = path.find("/", at + 1)


def _walk(tree: str, folder: str) -> object:
    """Yield the path of each file in a tree."""
    try:
        entries = list(os.ilistdir(tree + "/" + folder if folder else tree))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return
    for name, kind, *_ in entries:
        path = folder + "/" + name if folder else name
        if kind & _DIRECTORY:
            yield from _walk(tree, path)  # type: ignore[misc]
        else:
            yield path
