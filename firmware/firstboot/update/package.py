"""The list of a package: its files, where they are in it, and what they may be called.

Sizes, names and hashes are those of a stranger. docs/updates.md has the format.
"""

from micropython import const

from firstboot.update.errors import Refused

# magic, length of the head, signature, SHA-256 of the head
PREFIX = const(104)
HASH = const(64)
_FILE_LIMIT = const(1 << 20)
_LINE_LIMIT = const(255)
_PATH_LIMIT = const(96)
_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/"
# Never a package's: what a board has of its own, and what starts it.
_OWN = ("boot.py", "settings.json", "vault.0", "vault.1", "trees.0", "trees.1")


def list_of(values: dict[str, str]) -> tuple[int, int, str, int]:
    """Return what a head has of its list: files, bytes, hash, and bytes in the package."""
    count, size, digest, length = values["files"].split(" ")
    return int(count), int(size), digest, int(length)


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
