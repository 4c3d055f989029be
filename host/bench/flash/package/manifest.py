"""The manifest of a package, as lines of text: a head, what it is and for which boards, and the list of its files.

The head is what is signed, and small enough for a board's RAM; it has the hash of the list, which is deflated.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from bench.errors import UsageError
from bench.flash.package import signing
from bench.flash.package.form import deflate

HEAD_LIMIT = 1024
LIST_LIMIT = 32768
"""Bytes of the list before it is deflated."""
LINE_LIMIT = 255
"""Bytes of a line without its line feed."""
FILES_LIMIT = 255
FILE_LIMIT = 1 << 20
NUMBER_LIMIT = (1 << 31) - 1
_TEXT_LIMIT = 64
# The key of the last line of the head: count, size, SHA-256 and length of the list.
_LISTING = "files"
_PATH_LIMIT = 96

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
_DOTTED = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})*")
_NAME = re.compile(r"[a-z0-9_]{1,64}")
_PART = re.compile(r"[A-Za-z0-9._-]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# What a board has beside its programs: a package never has these.
_BOARDS_OWN = ("boot.py", "settings.json", "vault.0", "vault.1", "trees.0", "trees.1")


class PackageError(UsageError):
    """A package that no board would accept, or that cannot be made."""


class Kind(StrEnum):
    """The two kinds of packages; the value stands in the manifest, and begins the keys of attributes and topics."""

    FIRMWARE = "fw"
    SOFTWARE = "sw"


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """A file of a package.

    Attributes:
        path: Where it goes on the board, below the folder of the update.
        size: Its bytes.
        sha256: Of its content, in lower-case hex.
        length: Its bytes in the package: deflated, or as it is where that is not shorter.
    """

    path: str
    size: int
    sha256: str
    length: int

    def __post_init__(self) -> None:
        check_path(self.path)
        if not 0 <= self.size <= FILE_LIMIT:
            raise PackageError(f"{self.path} has {self.size:,} bytes: a file has {FILE_LIMIT:,} at most")
        if not 0 <= self.length <= self.size:
            raise PackageError(f"{self.path} has {self.size:,} bytes, and {self.length:,} in the package")
        if not _DIGEST.fullmatch(self.sha256):
            raise PackageError(f"{self.path} has something else than a SHA-256: {self.sha256}")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A description of a package. The names of the fields are those of the manifest, in its order.

    Attributes:
        kind: Firmware, with or without an application; or software, an application alone.
        title: As on the server.
        version: As on the server.
        number: Counts up: a board refuses a lower one than it had, unless the package is a downgrade.
        downgrade: It may have a lower number.
        least: The least version of firmware that it updates, as dotted numbers; empty for any.
        chip: The only chip it is for, empty for any.
        board: The only board it is for, empty for any.
        abi: The version of the format of its .mpy files; 0 if it has none.
        key: The public key that replaces the board's, as hex; empty for none.
    """

    kind: Kind
    title: str
    version: str
    number: int = 0
    downgrade: bool = False
    least: str = ""
    chip: str = ""
    board: str = ""
    abi: int = 0
    key: str = ""

    def __post_init__(self) -> None:
        for what, text in (("title", self.title), ("version", self.version)):
            if not 0 < len(text) <= _TEXT_LIMIT or not text.isprintable() or text != text.strip():
                raise PackageError(f"the {what} {text!r} is not 1 to {_TEXT_LIMIT} printable characters")
        if not 0 <= self.number <= NUMBER_LIMIT:
            raise PackageError(f"the number {self.number} is not from 0 to {NUMBER_LIMIT:,}")
        if self.least and (len(self.least) > _TEXT_LIMIT or not _DOTTED.fullmatch(self.least)):
            raise PackageError(f"the least version {self.least!r} is not of numbers and dots, as 0.2.0 is")
        for what, text in (("chip", self.chip), ("board", self.board)):
            if text and not _NAME.fullmatch(text):
                raise PackageError(f"the {what} {text!r} is not a name of one: bench boards lists them")
        if not 0 <= self.abi <= LINE_LIMIT:
            raise PackageError(f"the ABI {self.abi} is not from 1 to {LINE_LIMIT}")
        if self.key:
            signing.check_public(self.key)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A head, and the files in the order of their content."""

    head: Head
    files: tuple[PackagedFile, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.files) <= FILES_LIMIT:
            raise PackageError(f"{len(self.files)} files: a package has 1 to {FILES_LIMIT}")
        _check_together([each.path for each in self.files])
        has_modules = any(each.path.endswith(".mpy") for each in self.files)
        if has_modules != bool(self.head.abi):
            raise PackageError(f"{'no' if has_modules else 'an'} ABI, and {'' if has_modules else 'no '}.mpy files")
        if self.head.kind is Kind.SOFTWARE and any(each.path.startswith("firstboot/") for each in self.files):
            raise PackageError("firstboot/ is of the firmware: a package of an application has only its own files")

    @property
    def size(self) -> int:
        """Bytes of all files in the package."""
        return sum(each.length for each in self.files)

    def encode(self) -> tuple[bytes, bytes]:
        """Return head and list as they stand in a package. Raises PackageError if one is too long."""
        listed = _lines(f"{each.path} {each.size} {each.sha256} {each.length}" for each in self.files)
        if len(listed) > LIST_LIMIT:
            raise PackageError(f"the list has {len(listed):,} bytes, the limit is {LIST_LIMIT:,}: fewer files")
        packed = deflate(listed)
        listing = f"{_LISTING} {len(self.files)} {len(listed)} {hashlib.sha256(listed).hexdigest()} {len(packed)}"
        head = _lines([*(f"{key} {text}" for key, text in _texts(self.head)), listing])
        if len(head) > HEAD_LIMIT:
            raise PackageError(f"the head has {len(head):,} bytes, the limit is {HEAD_LIMIT:,}: shorter texts")
        return head, packed


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The last line of the head, about the list.

    Attributes:
        count: The files in it.
        size: Its bytes.
        sha256: Of its content, in lower-case hex.
        length: Its bytes in the package.
    """

    count: int
    size: int
    sha256: str
    length: int

    def __post_init__(self) -> None:
        if not 0 < self.count <= FILES_LIMIT or not 0 < self.length <= self.size <= LIST_LIMIT:
            raise PackageError(
                f"a list of {self.count:,} files, {self.size:,} bytes and {self.length:,} in the package"
            )
        if not _DIGEST.fullmatch(self.sha256):
            raise PackageError(f"the list has something else than a SHA-256: {self.sha256}")


def parse_head(data: bytes) -> tuple[Head, Listing]:
    """Return the head that stands in a package. Raises PackageError if anything in it is not as it must be."""
    *lines, last = _texts_of(data, "head")
    words = last.split(" ")
    if len(words) != 5 or words[0] != _LISTING:
        raise PackageError("the head does not end with its list")
    count, size, length = (_parse_number(words[at]) for at in (1, 2, 4))
    return _parse_head(lines), Listing(count=count, size=size, sha256=words[3], length=length)


def parse_list(head: Head, listing: Listing, data: bytes) -> Manifest:
    """Return the manifest of a head and its list, inflated. Raises PackageError as `parse_head` does."""
    lines = _texts_of(data, "list")
    if len(lines) != listing.count:
        raise PackageError(f"{len(lines)} files in the list, where the head has {listing.count}")
    return Manifest(head=head, files=tuple(map(_parse_file, lines)))


def check_path(path: str) -> None:
    """Raise PackageError unless a file of a package may have this path."""
    parts = path.split("/")
    if len(path) > _PATH_LIMIT:
        raise PackageError(f"the path {path} has more than {_PATH_LIMIT} characters")
    if not all(_PART.fullmatch(each) and each not in (".", "..") for each in parts):
        raise PackageError(f"the path {path!r} has other characters than A-Z a-z 0-9 . _ - and single slashes")
    if path.lower() in _BOARDS_OWN or path.lower().endswith(".new"):
        raise PackageError(f"{path} is the board's own: leave it out")


def _check_together(paths: list[str]) -> None:
    """Raise PackageError if two paths are the same on some file system, or one is a folder of another."""
    seen: set[str] = set()
    for path in paths:
        if path.lower() in seen:
            raise PackageError(f"{path} is there twice, perhaps in other case")
        seen.add(path.lower())
    for path in paths:
        parts = path.lower().split("/")
        if any("/".join(parts[:count]) in seen for count in range(1, len(parts))):
            raise PackageError(f"{path} is in a folder that is a file, too")


def _lines(texts: Iterable[str]) -> bytes:
    lines = [text.encode() for text in texts]
    for line in lines:
        _check_line(line)
    return b"".join(line + b"\n" for line in lines)


def _texts_of(data: bytes, what: str) -> list[str]:
    if not data.endswith(b"\n"):
        raise PackageError(f"the {what} does not end with a line feed")
    lines = data[:-1].split(b"\n")
    for line in lines:
        _check_line(line)
    try:
        return [line.decode() for line in lines]
    except UnicodeDecodeError:
        raise PackageError(f"the {what} is not UTF-8") from None


def _check_line(line: bytes) -> None:
    if len(line) > LINE_LIMIT:
        raise PackageError(f"a line of the manifest has {len(line):,} bytes, the limit is {LINE_LIMIT}")


def _texts(head: Head) -> Iterator[tuple[str, str]]:
    """Yield key and text of each line of the head; fields with their defaults have none."""
    for field in fields(head):
        value = getattr(head, field.name)
        if value != field.default:
            yield field.name, "yes" if value is True else str(value)


def _parse_head(lines: list[str]) -> Head:
    keys = [field.name for field in fields(Head)]
    values: dict[str, Any] = {}
    for line in lines:
        key, _, text = line.partition(" ")
        if key not in keys:
            raise PackageError(f"the manifest has {key!r}, which is not a key, is there twice or out of order")
        keys = keys[keys.index(key) + 1 :]
        values[key] = _parse_value(key, text)
    for key in ("kind", "title", "version"):
        if key not in values:
            raise PackageError(f"the manifest has no {key}")
    return Head(**values)


def _parse_value(key: str, text: str) -> object:
    if key == "kind":
        if text not in tuple(Kind):
            raise PackageError(f"the kind {text!r} is neither fw nor sw")
        return Kind(text)
    if key == "downgrade":
        if text != "yes":
            raise PackageError(f"downgrade is {text!r}, not yes")
        return True
    if key == "number":
        return _parse_number(text)
    if key == "abi":
        if not (number := _parse_number(text)):
            raise PackageError("the ABI is 0")
        return number
    if not text:
        raise PackageError(f"{key} is empty")
    return text


def _parse_file(line: str) -> PackagedFile:
    words = line.split(" ")
    if len(words) != 4:
        raise PackageError(f"{line!r} is not path, size, SHA-256 and length of a file")
    path, size, sha256, length = words
    return PackagedFile(path=path, size=_parse_number(size), sha256=sha256, length=_parse_number(length))


def _parse_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise PackageError(f"{text!r} is not a number as it must be written")
    return int(text)
