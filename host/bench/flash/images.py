"""Search, checks and partition contents of MicroPython images."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bench import paths
from bench.boards import CHIPS, OLDEST, BoardDefinition, Image, Partition
from bench.errors import BenchError
from bench.flash import download, esp_image, partitions
from bench.flash.download import OnBytes
from bench.flash.filesystem import Region

_SUMS = "SHA256SUMS"
_BANNER = re.compile(rb"MicroPython v((\d+)\.(\d+)[\w.+-]{0,60}) on (\d{4}-\d\d-\d\d)")
_SECTOR = 4096
_APP, _DATA = 0x00, 0x01
_OTA, _PHY, _NVS, _FAT = 0x00, 0x01, 0x02, 0x81


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """Facts that an image has in it. Sizes are in bytes; `version` has no `v`, `date` is that of the build."""

    version: str
    date: str
    chip: str
    flash_mode: str
    flash_size: int
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, kw_only=True)
class CheckedImage:
    """An image that was checked, and fits the board. `notice` is for the user, and empty if there is none."""

    path: Path
    data: bytes
    sha256: str
    facts: ImageFacts
    notice: str = ""


def cache() -> Path:
    """Return the folder for downloaded images: `BENCH_IMAGES`, or one in the user's cache."""
    named = os.environ.get("BENCH_IMAGES")
    return Path(named) if named else paths.user_cache() / "images"


def cached(image: Image) -> bytes:
    """Return the image in the cache; empty bytes if there is none, or a damaged one."""
    path = cache() / image.file
    data = path.read_bytes() if path.is_file() else b""
    return data if _expected(image) in ("", _digest(data)) else b""


def find(
    board: BoardDefinition, given: Path | None = None, *, on_progress: OnBytes = lambda _done, _total: None
) -> CheckedImage:
    """Find a board's image: a given file, or the one in the cache, or copy or download it into the cache.

    It is copied if `make setup` has fetched it and its SHA-256 is the definition's.

    A given file with another name than the definition's may be any image; every other one has to have the
    SHA-256 of the definition, or, if that has none, of the file that was used first.

    Args:
        board: The definition.
        given: A file to use.
        on_progress: Receives the progress of a download.

    Returns:
        The image, which fits the board.

    Raises:
        BenchError: No image can be downloaded now, or it has another SHA-256, is damaged, or is not for this board.
        OSError: The given file cannot be read.
    """
    image = board.image
    definition = f"boards/{board.name}.toml"
    if given:
        data, source = given.read_bytes(), str(given)
    elif data := cached(image):
        source = str(cache() / image.file)
    elif data := _set_up(image):
        source = str(paths.BUILD)
    else:
        data, source = _downloaded(image, on_progress), image.url
    path = given or cache() / image.file
    sha256 = _digest(data)
    other = path.name != image.file
    expected = "" if other else _expected(image)
    if expected and sha256 != expected:
        who = definition if image.sha256 else f"{cache() / _SUMS}, which has the SHA-256 of its first use,"
        raise BenchError(
            f"{source} is not the expected {image.file}: its SHA-256 is {sha256}, and {who} says {expected}: "
            "do not use it, and get it from a source you trust"
        )
    found = check(data, board, source)
    if source in (image.url, str(paths.BUILD)):
        cache().mkdir(parents=True, exist_ok=True)
        paths.write_private(path, data)
    notice = ""
    if other:
        notice = f"{path.name} is MicroPython {found.version} of {found.date}; {definition} names {image.file}"
    elif not expected:
        _remember(image, sha256)
        notice = (
            f"{image.file} cannot be verified: {definition} has no sha256 for it. From now on it must be this "
            f"very file, whose SHA-256 is kept in {cache() / _SUMS}"
        )
    return CheckedImage(path=path, data=data, sha256=sha256, facts=found, notice=notice)


def facts(data: bytes) -> ImageFacts:
    """Return the facts of an image.

    Args:
        data: The image, from the bootloader on.

    Raises:
        BenchError: It is not a MicroPython image for an ESP32, or damaged. The message does not name the file.
    """
    if not data or data[0] != esp_image.MAGIC:
        raise BenchError("this is not an image for an ESP32: take the .bin file, not .uf2 or .elf")
    loader = esp_image.read(data, 0)
    if not loader.chip:
        raise BenchError("this image is for a chip that the bench does not know")
    start = CHIPS[loader.chip].bootloader
    at = partitions.TABLE_OFFSET - start
    try:
        table = partitions.decode(data[at : at + partitions.TABLE_SIZE])
    except BenchError:
        raise BenchError("there is no partition table in this image: take the .bin file, not .app-bin") from None
    apps = [each for each in table if each.type == _APP and _content(data, each, start)]
    if not apps:
        raise BenchError("there is no program in this image: its end is missing")
    for each in apps:
        if esp_image.read(data, each.offset - start).chip != loader.chip:
            raise BenchError(f"the program in {each.label} is not for {loader.chip}, as the bootloader is")
    banner = _BANNER.search(data)
    if not banner:
        raise BenchError("this image is not MicroPython's")
    return ImageFacts(
        version=banner[1].decode(),
        date=banner[4].decode(),
        chip=loader.chip,
        flash_mode=loader.flash_mode,
        flash_size=loader.flash_size,
        partitions=table,
    )


def check(data: bytes, board: BoardDefinition, source: str) -> ImageFacts:
    """Return the facts of an image that fits a board.

    Args:
        data: The image, from the bootloader on.
        board: The definition.
        source: The image's file or URL, for messages.

    Raises:
        BenchError: It is damaged, too old for the firmware, or not for this board. The message has the source and the
            cure.
    """
    try:
        found = facts(data)
    except BenchError as error:
        raise BenchError(f"{source}: {error}") from None
    version = tuple(map(int, found.version.split(".")[:2]))
    definition = f"boards/{board.name}.toml"
    wrong = ""
    if found.chip != board.chip:
        wrong = f"is for {found.chip}, and {definition} for {board.chip}: choose the other board, or the other image"
    elif version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        wrong = f"is MicroPython {found.version}, and the firmware needs {oldest} or later: take a newer image"
    elif found.flash_size > board.flash_size:
        wrong = f"is for {found.flash_size >> 20} MB of flash, and {definition} has {board.flash_size >> 20}"
    elif found.flash_mode != board.flash_mode:
        wrong = f"is for flash_mode {found.flash_mode}, and {definition} says {board.flash_mode}"
    elif difference := _difference(found.partitions, board):
        wrong = (
            f"has another partition table than {definition}: {difference}. Use another image, or a definition of "
            "your own with this table"
        )
    if wrong:
        raise BenchError(f"{source} {wrong}")
    return found


def parts(data: bytes, board: BoardDefinition) -> list[Region]:
    """Return the regions of a board's flash that an image fills: offset and content, in whole sectors and in order.

    Filler between them is left out, and so are the partitions that the chip writes itself (nvs, phy_init); so each
    part can be compared with the board's flash. `otadata` is blank: the board starts the program that is written
    here, and not one that it got over the air before. Files (vfs) are not part of an image.

    Args:
        data: The image, from the bootloader on.
        board: A definition that it fits.
    """
    start = board.image_offset
    table = partitions.TABLE_OFFSET - start
    found = [(start, _whole(data[:table])), (partitions.TABLE_OFFSET, _whole(data[table : table + _SECTOR]))]
    for each in sorted(board.partitions, key=lambda each: each.offset):
        kind = (each.type, each.subtype)
        if kind == (_DATA, _OTA):
            found.append((each.offset, b"\xff" * each.size))
        elif kind not in ((_DATA, _NVS), (_DATA, _PHY)) and each.label != "vfs":
            found.append((each.offset, _whole(_content(data, each, start))))
    return [(offset, content) for offset, content in found if content]


def _content(data: bytes, partition: Partition, start: int) -> bytes:
    """Return the content for a partition in an image that begins at `start`, without filler."""
    return data[partition.offset - start : partition.end - start].rstrip(b"\xff")


def _whole(content: bytes) -> bytes:
    """Return a content filled up to whole sectors, with the FF of erased flash."""
    content = content.rstrip(b"\xff")
    return content.ljust(-(-len(content) // _SECTOR) * _SECTOR, b"\xff")


def _difference(table: tuple[Partition, ...], board: BoardDefinition) -> str:
    """Return the first difference of an image's table from a board's; empty if there is none.

    Images from MicroPython 1.26 on have no vfs in theirs: their file system fills the flash behind the last partition.
    """
    if all(each.label != "vfs" for each in table):
        end = max(each.end for each in table)
        table = (*table, Partition("vfs", _DATA, _FAT, end, board.flash_size - end))
    there = {each.label: each for each in table}
    here = {each.label: each for each in board.partitions}
    for label in sorted(there.keys() | here.keys(), key=lambda label: (there.get(label) or here[label]).offset):
        if there.get(label) != here.get(label):
            return f"{label} is {_place(there.get(label))} in the image, {_place(here.get(label))} in the definition"
    return ""


def _place(partition: Partition | None) -> str:
    if not partition:
        return "not there"
    kind = "app" if partition.type == _APP else "data"
    return f"{kind} {partition.subtype:#04x} at {partition.offset:#x} with {partition.size:#x} bytes"


def _downloaded(image: Image, on_progress: OnBytes) -> bytes:
    path = cache() / image.file
    try:
        return download.fetch(image.url, on_progress)
    except download.DownloadFailed as error:
        missing = f"{path} is damaged" if path.exists() else f"{image.file} is not in {cache()}"
        raise BenchError(
            f"{missing}, and cannot be downloaded now ({error}): download {image.url} on another machine, and copy "
            "it there, or give the file with --image"
        ) from None


def _set_up(image: Image) -> bytes:
    """Return the image that `make setup` has fetched for the tests; empty bytes if it is another one, or none."""
    found = next((paths.BUILD / "images").rglob(image.file), None) if image.sha256 else None
    data = found.read_bytes() if found and os.access(found, os.R_OK) else b""
    return data if _digest(data) == image.sha256 else b""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _expected(image: Image) -> str:
    """Return the SHA-256 that an image has to have: the definition's, or that of the file that was used first."""
    sums = cache() / _SUMS
    if image.sha256 or not sums.is_file():
        return image.sha256
    lines = (line.split() for line in sums.read_text().splitlines())
    return next((line[0] for line in lines if line[1:] == [image.file]), "")


def _remember(image: Image, sha256: str) -> None:
    """Add a line in the format of sha256sum."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / _SUMS).open("a") as sums:
        sums.write(f"{sha256}  {image.file}\n")
