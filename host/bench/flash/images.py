"""MicroPython images: where they come from, what is in them, and what of that goes onto a board."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from bench import paths
from bench.boards import CHIPS, OLDEST, Board, Image, Partition
from bench.errors import BenchError
from bench.flash import download, esp_image, partitions
from bench.flash.download import Progress

_SUMS = "SHA256SUMS"
_BANNER = re.compile(rb"MicroPython v((\d+)\.(\d+)[\w.+-]{0,60}) on (\d{4}-\d\d-\d\d)")
_SECTOR = 4096
_APP, _DATA = 0x00, 0x01
_OTA, _PHY, _NVS, _FAT = 0x00, 0x01, 0x02, 0x81


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What an image says of itself; sizes in bytes."""

    version: str
    date: str
    chip: str
    flash_mode: str
    flash_size: int
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, kw_only=True)
class CheckedImage:
    """An image that was checked, and fits the board. `notice`: what a person ought to know of it, if anything."""

    path: Path
    data: bytes
    sha256: str
    facts: ImageFacts
    notice: str = ""


def cache() -> Path:
    """The folder for downloaded images: `BENCH_IMAGES`, or the user's cache."""
    named = os.environ.get("BENCH_IMAGES")
    return Path(named) if named else platformdirs.user_cache_path("firstboot") / "images"


def cached(image: Image) -> bytes:
    """The image as the cache has it; nothing if it has none, or a damaged one."""
    path = cache() / image.file
    data = path.read_bytes() if path.is_file() else b""
    return data if _expected(image) in ("", _digest(data)) else b""


def find(
    board: Board, given: Path | None = None, *, on_progress: Progress = lambda _done, _total: None
) -> CheckedImage:
    """A board's image: the `given` file, or the one in the cache, or downloaded into it.

    A given file with another name than the definition's is taken for what it is; every other one has to have the
    SHA-256 of the definition, or, if that has none, of the file that was used first. Raises BenchError if there is
    no image to be had, if it is not the file that it is called, or not for this board.
    """
    image = board.image
    definition = f"boards/{board.name}.toml"
    if given:
        data, source = given.read_bytes(), str(given)
    elif data := cached(image):
        source = str(cache() / image.file)
    else:
        data, source = _downloaded(image, on_progress), image.url
    path = given or cache() / image.file
    sha256 = _digest(data)
    other = path.name != image.file
    expected = "" if other else _expected(image)
    if expected and sha256 != expected:
        who = definition if image.sha256 else f"{cache() / _SUMS}, which holds what was used first,"
        raise BenchError(
            f"{source} is not the {image.file} that it should be: its SHA-256 is {sha256}, and {who} says {expected}: "
            "do not use it, get it from where you trust"
        )
    found = check(data, board, source)
    if source == image.url:
        cache().mkdir(parents=True, exist_ok=True)
        paths.write_private(path, data)
    notice = ""
    if other:
        notice = f"{path.name} is MicroPython {found.version} of {found.date}; {definition} names {image.file}"
    elif not expected:
        _remember(image, sha256)
        notice = (
            f"nobody vouches for {image.file} yet: {definition} has no sha256 for it. From now on it has to be this "
            f"very file ({cache() / _SUMS})"
        )
    return CheckedImage(path=path, data=data, sha256=sha256, facts=found, notice=notice)


def facts(data: bytes) -> ImageFacts:
    """What an image says of itself. Raises BenchError if it is none of MicroPython's for an ESP32, or damaged."""
    if not data or data[0] != esp_image.MAGIC:
        raise BenchError("this is no image for an ESP32: take the .bin file, not .uf2 or .elf")
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


def check(data: bytes, board: Board, source: str) -> ImageFacts:
    """The facts of an image, if it fits a board; else raises BenchError, which names the source."""
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


def parts(data: bytes, board: Board) -> list[tuple[int, bytes]]:
    """What of an image goes into a board's flash, and where to: whole sectors, in order.

    The filler between is left out, and so are the partitions that the chip writes itself (nvs, phy_init); so each
    part can be compared with what is in a board's flash. `otadata` is blank: the board starts what is written here,
    and not what it got over the air before. Files (vfs) are not the image's business.
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
    """What an image that begins at `start` has for a partition, without filler."""
    return data[partition.offset - start : partition.end - start].rstrip(b"\xff")


def _whole(content: bytes) -> bytes:
    """Filled up to whole sectors, as the flash is after it was erased."""
    content = content.rstrip(b"\xff")
    return content.ljust(-(-len(content) // _SECTOR) * _SECTOR, b"\xff")


def _difference(table: tuple[Partition, ...], board: Board) -> str:
    """How an image's table differs from a board's; empty if it does not.

    Images from MicroPython 1.26 on have no vfs in theirs: the program takes what is behind the last partition.
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


def _downloaded(image: Image, on_progress: Progress) -> bytes:
    path = cache() / image.file
    try:
        return download.fetch(image.url, on_progress)
    except download.NotFetched as error:
        missing = f"{path} is damaged" if path.exists() else f"{image.file} is not in {cache()}"
        raise BenchError(
            f"{missing}, and not to be downloaded now ({error}): get {image.url} where you can, and put it there, or "
            "name the file with --image"
        ) from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _expected(image: Image) -> str:
    """The SHA-256 that the image has to have: the definition's, or that of the file that was used first."""
    sums = cache() / _SUMS
    if image.sha256 or not sums.is_file():
        return image.sha256
    lines = (line.split() for line in sums.read_text().splitlines())
    return next((line[0] for line in lines if line[1:] == [image.file]), "")


def _remember(image: Image, sha256: str) -> None:
    """Add a line as sha256sum reads it."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / _SUMS).open("a") as sums:
        sums.write(f"{sha256}  {image.file}\n")
