"""The package of an update: its head, which may be signed, and the list of its files.

Nothing of it is believed before it was compared: sizes, names and hashes are those of a stranger. docs/updates.md has
the format.
"""

import binascii
import hashlib
import sys

from micropython import const

from firstboot import __version__, board
from firstboot.update.errors import Refused

MAGIC = b"FBP1"
# magic, length of the head, signature, SHA-256 of the head
PREFIX = const(104)
HASH = const(64)
_HEAD_LIMIT = const(1024)
_LIST_LIMIT = const(32768)
_FILES_LIMIT = const(255)
_FILE_LIMIT = const(1 << 20)
_LINE_LIMIT = const(255)
_PATH_LIMIT = const(96)
_TEXT_LIMIT = const(64)
_ABI = const(6)
_UNSIGNED = bytes(64)
_POINT = const(65)
_NO_KEY = "0" * 2 * _POINT
_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/"
# Never a package's: what a board has of its own, and what starts it.
_OWN = ("boot.py", "settings.json", "vault.0", "vault.1", "trees.0", "trees.1")
_KEYS = ("kind", "title", "version", "number", "downgrade", "least", "chip", "board", "abi", "key", "files")


def head_length(prefix: bytes) -> int:
    """Return how many bytes the head has that follows these. Raises Refused."""
    length = int.from_bytes(prefix[4:8], "little")
    if prefix[:4] != MAGIC or not 0 < length <= _HEAD_LIMIT:
        raise Refused("not a package of bench firmware pack")
    return length


def read_head(prefix: bytes, head: bytes, key: str) -> dict[str, str]:
    """Return the head's values by name, once its hash and its signature are right.

    Args:
        prefix: the bytes before it.
        head: as it came.
        key: the public key that must have signed it, in hex; "" if nothing has to be signed.

    Raises:
        Refused: with the cause.
    """
    digest = hashlib.sha256(head).digest()
    if digest != prefix[72:PREFIX]:
        raise Refused("the package is damaged")
    if key:
        _check_signature(prefix[8:72], digest, key)
    values: dict[str, str] = {}
    try:
        for line in head.decode().rstrip("\n").split("\n"):
            name, _, value = line.partition(" ")
            if name in values or name not in _KEYS:
                raise Refused("the package has a head that this firmware does not know")
            values[name] = value
        is_right = _is_right(values)
    except (KeyError, ValueError):
        is_right = False
    if not is_right:
        raise Refused("the head of the package is damaged")
    if "key" in values and not key:
        raise Refused("a package that brings a key has to be signed, and update.key to be set")
    values["start"] = str(PREFIX + len(head))
    return values


def _check_signature(signature: bytes, digest: bytes, key: str) -> None:
    if signature == _UNSIGNED:
        raise Refused("the package is not signed")
    from firstboot import p256

    try:
        public = binascii.unhexlify(key)
    except ValueError:
        public = b""
    if len(public) != _POINT:  # typed on the console, say
        raise Refused("update.key is not a public key: bench firmware key prints it")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not p256.verify(public, digest, r, s, board.feed):
        raise Refused("the package has another signature than update.key's")


def _is_right(values: dict[str, str]) -> bool:
    """Return whether the values of a head are such; raise KeyError or ValueError if one is missing or no number."""
    for name in ("title", "version"):
        if not 0 < len(values[name]) <= _TEXT_LIMIT:
            return False
    if len(binascii.unhexlify(values.get("key", _NO_KEY))) != _POINT:
        return False
    count, size, digest, length = list_of(values)
    is_list = 0 < count <= _FILES_LIMIT and 0 < length <= size <= _LIST_LIMIT and len(digest) == HASH
    return is_list and values["kind"] in ("fw", "sw") and 0 <= int(values.get("number", "0")) < 1 << 31


def list_of(values: dict[str, str]) -> tuple[int, int, str, int]:
    """Return what a head has of its list: files, bytes, hash, and bytes in the package."""
    count, size, digest, length = values["files"].split(" ")
    return int(count), int(size), digest, int(length)


def check(values: dict[str, str], known: int) -> None:
    """Compare a package with this board and what it had before.

    Args:
        values: as `read_head` returns them.
        known: the highest number that this board accepted.

    Raises:
        Refused: with the cause.
    """
    implementation = sys.implementation
    machine = getattr(implementation, "_machine", "").split(" with ")[-1].lower().replace("-", "")
    build = getattr(implementation, "_build", "").lower()
    if "chip" in values and machine and values["chip"] != machine:
        raise Refused("the package is for the chip %s, and this is %s" % (values["chip"], machine))
    if "board" in values and build and values["board"] != build:
        raise Refused("the package is for the board %s, and this is %s" % (values["board"], build))
    if "abi" in values and values["abi"] != str(getattr(implementation, "_mpy", _ABI) & 0xFF):
        raise Refused("the package has modules of another MicroPython (.mpy version %s)" % values["abi"])
    if "least" in values and _numbers(values["least"]) > _numbers(__version__):
        raise Refused("the package needs firmware %s, and this is %s" % (values["least"], __version__))
    if int(values.get("number", "0")) < known and "downgrade" not in values:
        raise Refused("the package has number %s, and this board had %d" % (values.get("number", "0"), known))


def files(path: str, values: dict[str, str], total: int) -> object:
    """Yield `(path, size, hash, offset, length)` of each file of a list; offset and length are those in the package.

    Args:
        path: of the file with the list.
        values: of the head.
        total: the size of the package, bytes.

    Raises:
        Refused: the list is not as the head has it, or has what no package may have.
    """
    count, _, _, length = list_of(values)
    offset = int(values["start"]) + length
    with open(path, "rb") as lines:
        found = 0
        while True:
            line = lines.readline(_LINE_LIMIT)
            if not line:
                break
            try:
                name, size_text, digest, length_text = line.decode().rstrip("\n").split(" ")
                size, length = int(size_text), int(length_text)
            except ValueError:
                raise Refused("the list of the package is damaged")
            if values["kind"] == "sw" and name.lower().startswith("firstboot/"):  # it would come before the firmware's
                name = ""
            if not (_is_path(name) and len(digest) == HASH and 0 <= length <= size <= _FILE_LIMIT):
                raise Refused("the package has a file that is not allowed: %s" % name[:_PATH_LIMIT])
            if size and not length:
                raise Refused("the list of the package is damaged")
            found += 1
            yield name, size, digest, offset, length
            offset += length
    if found != count or offset != total:
        raise Refused("the package has %d bytes, and %d by its list" % (total, offset))


def _is_path(name: str) -> bool:
    """Return whether a file may have this path in a tree."""
    parts = name.split("/")
    if not 0 < len(name) <= _PATH_LIMIT or name.lower() in _OWN or name.lower().endswith(".new"):
        return False
    return all(each in _CHARACTERS for each in name) and all(part.strip(".") for part in parts)


def _numbers(version: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]
