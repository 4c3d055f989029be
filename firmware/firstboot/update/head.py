"""The head of a package: who made it, and for which boards. Loaded for as long as it takes to decide that.

Nothing of it is believed before it was compared. docs/updates.md has the format.
"""

import binascii
import hashlib
import sys

from micropython import const

from firstboot import __version__, board, temporary
from firstboot.update import package
from firstboot.update.errors import Refused

_MAGIC = b"FBP1"
_HEAD_LIMIT = const(1024)
_LIST_LIMIT = const(32768)
_FILES_LIMIT = const(255)
_TEXT_LIMIT = const(64)
_ABI = const(6)
_UNSIGNED = bytes(64)
_POINT = const(65)
_NO_KEY = "0" * 2 * _POINT
_KEYS = ("kind", "title", "version", "number", "downgrade", "least", "chip", "board", "abi", "key", "files")


def length(prefix: bytes) -> int:
    """Return how many bytes the head has that follows these. Raises Refused."""
    size = int.from_bytes(prefix[4:8], "little")
    if prefix[:4] != _MAGIC or not 0 < size <= _HEAD_LIMIT:
        raise Refused("not a package of bench firmware pack")
    return size


def read(prefix: bytes, head: bytes, key: str) -> dict[str, str]:
    """Return the head's values by name, once its hash and its signature are right.

    Args:
        prefix: the bytes before it.
        head: as it came.
        key: the public key that must have signed it, in hex; "" if nothing has to be signed.

    Raises:
        Refused: with the cause.
    """
    digest = hashlib.sha256(head).digest()
    if digest != prefix[72 : package.PREFIX]:
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
    values["start"] = str(package.PREFIX + len(head))
    return values


def _check_signature(signature: bytes, digest: bytes, key: str) -> None:
    if signature == _UNSIGNED:
        raise Refused("the package is not signed")
    try:
        public = binascii.unhexlify(key)
    except ValueError:
        public = b""
    if len(public) != _POINT:  # typed on the console, say
        raise Refused("update.key is not a public key: bench firmware key prints it")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    with temporary.Imports():
        from firstboot import p256

        is_right = p256.verify(public, digest, r, s, board.feed)
    if not is_right:
        raise Refused("the package has another signature than update.key's")


def _is_right(values: dict[str, str]) -> bool:
    """Return whether the values of a head are such; raise KeyError or ValueError if one is missing or no number."""
    for name in ("title", "version"):
        if not 0 < len(values[name]) <= _TEXT_LIMIT:
            return False
    if len(binascii.unhexlify(values.get("key", _NO_KEY))) != _POINT:
        return False
    count, size, digest, packed = package.list_of(values)
    is_list = 0 < count <= _FILES_LIMIT and 0 < packed <= size <= _LIST_LIMIT and len(digest) == package.HASH
    return is_list and values["kind"] in ("fw", "sw") and 0 <= int(values.get("number", "0")) < 1 << 31


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


def _numbers(version: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]
