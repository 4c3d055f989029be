"""Reading and checking board definitions."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from bench import paths
from bench.boards.chips import CHIPS, ChipKind
from bench.boards.model import BoardDefinition, Ethernet, Image, Partition
from bench.boards.table import Table
from bench.errors import BenchError, UsageError
from bench.input_files import decoding

OLDEST = (1, 23)
"""The oldest MicroPython (major, minor) that runs the firmware's bytecode, ABI 6.3; all later ones up to now do."""

_KEYS = ("name", "title", "chip", "flash_size", "flash_mode", "psram", "image_offset", "baud", "before", "after")
_SECTIONS = ("image", "pins", "link", "partition")
_TYPES = {"app": 0x00, "data": 0x01}
_NO_PIN = -1
_MODES = ("dio", "dout", "qio", "qout")
_BAUDS = (115200, 230400, 460800, 921600, 1500000, 2000000)
_BEFORE = ("default-reset", "usb-reset", "no-reset")
_AFTER = ("hard-reset", "watchdog-reset", "no-reset")
# The PHYs that MicroPython's network.LAN drives on the ESP32's own interface.
_PHYS = ("DP83848", "IP101", "KSZ8041", "KSZ8081", "LAN8710", "LAN8720", "RTL8201")
# The table itself fills the sector at 0x8000.
_FIRST = 0x9000
_VERSION = re.compile(r"(\d+)\.(\d+)\.\d+")
_FILE = re.compile(r"\w[\w.+-]*\.bin", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def names() -> list[str]:
    """Return the names of all definitions, sorted."""
    return sorted(path.stem for path in paths.BOARDS.glob("*.toml"))


def load(name: str) -> BoardDefinition:
    """Read a definition.

    Args:
        name: Its file's name in `boards/`, without `.toml`.

    Raises:
        UsageError: There is none of that name.
        BenchError: It could not work. The message has the file, the key and the values that are allowed.
    """
    path = paths.BOARDS / f"{name}.toml"
    if name not in names():
        raise UsageError(f"no board {name}; there is: {', '.join(names())}")
    return parse(decoding.read(path).content, path)


def parse(text: str, path: Path) -> BoardDefinition:
    """Parse and check a definition.

    Args:
        text: TOML.
        path: Its file, for messages; the name in it has to be the file's.

    Raises:
        BenchError: As for `load`.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"{path}: {error}") from error
    top = Table(values, path, (*_KEYS, *_SECTIONS))
    if top.text("name") != path.stem:
        raise top.wrong("name", f"must be {path.stem}, like the file")
    chip = CHIPS[top.choice("chip", tuple(CHIPS))]
    flash_size = top.sectors("flash_size")
    psram = top.choice("psram", tuple(chip.psram), default="none")
    usable = chip.pins - chip.psram[psram]
    pins = top.section("pins", ("led", "button"))
    if values.get("image_offset") != chip.bootloader:
        raise top.wrong("image_offset", f"must be {chip.bootloader:#x} for {chip.name}: its ROM looks there")
    return BoardDefinition(
        name=top.text("name"),
        title=top.text("title"),
        chip=chip.name,
        flash_size=flash_size,
        flash_mode=top.choice("flash_mode", _MODES),
        psram=psram,
        image=_image(top.section("image", tuple(field.name for field in fields(Image)))),
        image_offset=chip.bootloader,
        baud=top.choice("baud", _BAUDS, default=460800),
        before=top.choice("before", _BEFORE, default="default-reset"),
        after=top.choice("after", _AFTER, default="hard-reset"),
        partitions=_partitions(top, flash_size),
        led=pins.pin("led", usable - chip.inputs, default=_NO_PIN),
        button=pins.pin("button", usable, default=_NO_PIN),
        ethernet=_ethernet(top, chip, usable),
    )


def _image(table: Table) -> Image:
    """Parse the section `image`: MicroPython's version, file and source."""
    version = _VERSION.fullmatch(table.text("version"))
    if not version or tuple(map(int, version.groups())) < OLDEST:
        raise table.wrong("version", f"must be a MicroPython from {OLDEST[0]}.{OLDEST[1]}.0 on, e.g. 1.25.0")
    if not _FILE.fullmatch(table.text("file")):
        raise table.wrong("file", "must be a file's name that ends in .bin, without a folder")
    sha256 = table.text("sha256", default="")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise table.wrong("sha256", "must be 64 digits 0-9 a-f; leave it out if nobody published it")
    url = table.text("url")
    if not url.startswith(("https://", "http://") if sha256 else "https://"):
        raise table.wrong("url", "must begin with https:// (or http://, if there is a sha256)")
    return Image(version=version.group(), file=table.text("file"), url=url, sha256=sha256)


def _partitions(top: Table, flash_size: int) -> tuple[Partition, ...]:
    """Parse the sections `partition`, the table in its order. It has the `vfs` that _boot.py mounts, and a program."""
    allowed = tuple(field.name for field in fields(Partition))
    found = tuple(_partition(each) for each in top.sections("partition", allowed))
    end = _FIRST
    for each in sorted(found, key=lambda each: each.offset):
        if each.offset < end or each.end > flash_size:
            raise top.wrong(
                "partition",
                f"{each.label} overlaps another, begins before {_FIRST:#x}, or ends behind the flash ({flash_size:#x})",
            )
        end = each.end
    labels = [each.label for each in found]
    if twice := next((each for each in labels if labels.count(each) > 1), None):
        raise top.wrong("partition", f"{twice} is there twice")
    if "vfs" not in labels or _TYPES["app"] not in [each.type for each in found]:
        raise top.wrong("partition", "must include one with label vfs, for the files, and one of type app")
    return found


def _partition(table: Table) -> Partition:
    label = table.text("label")
    if len(label.encode()) > 16:
        raise table.wrong("label", f"{label} is longer than 16 bytes")
    return Partition(
        label=label,
        type=_TYPES[table.choice("type", tuple(_TYPES))],
        subtype=table.number("subtype", range(256)),
        offset=table.sectors("offset"),
        size=table.sectors("size"),
    )


def _ethernet(top: Table, chip: ChipKind, usable: frozenset[int]) -> Ethernet | None:
    """Parse the section `link`: `kind` is "wifi", or "ethernet" with the wiring of the PHY."""
    link = top.section("link", ("kind", *(field.name for field in fields(Ethernet))))
    if link.choice("kind", ("wifi", "ethernet"), default="wifi") == "wifi":
        if other := link.keys - {"kind"}:
            raise link.wrong(min(other), 'is for an Ethernet board: set link.kind to "ethernet"')
        return None
    if chip.name != "esp32":
        raise link.wrong("kind", f'must be "wifi" for {chip.name}: only the esp32 has an Ethernet interface')
    outputs = usable - chip.inputs
    return Ethernet(
        phy=link.choice("phy", _PHYS),
        phy_address=link.number("phy_address", range(32)),
        mdc=link.pin("mdc", outputs),
        mdio=link.pin("mdio", outputs),
        power=link.pin("power", outputs, default=_NO_PIN),
        clock=link.pin("clock", usable, default=_NO_PIN),
        clock_out=link.flag("clock_out", default=False),
    )
