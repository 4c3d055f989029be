"""Board definitions and what is built from them."""

import hashlib
import struct
from pathlib import Path

import pytest

from bench import boards
from bench.errors import BenchError, UsageError
from bench.flash import device_config, filesystem, firmware, partitions
from tests.support import micropython

GOOD = """
name = "b"
title = "B"
chip = "esp32"
flash_size = 0x400000
flash_mode = "dio"
image_offset = 0x1000
[image]
version = "1.25.0"
file = "b.bin"
url = "https://example.org/b.bin"
[[partition]]
label = "factory"
type = "app"
subtype = 0x00
offset = 0x10000
size = 0x10000
[[partition]]
label = "vfs"
type = "data"
subtype = 0x81
offset = 0x200000
size = 0x200000
"""
FIRST = "[image]"
ETHERNET = """
[link]
kind = "ethernet"
phy = "LAN8720"
phy_address = 1
mdc = 23
mdio = 18
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "b"', "", "name must be text"),
        ('name = "b"', "name = 5", "name must be text"),
        ("0x400000", '"4MB"', "flash_size must be a number"),
        ("0x400000", "0x400001", "flash_size must be a multiple of 4096"),
        ("0x400000", "-4096", "flash_size must be a number"),
        ('chip = "esp32"', 'chip = "esp8266"', "chip must be one of esp32, esp32s2, esp32s3, esp32c3, esp32c6"),
        ('name = "b"', 'name = "c"', "name must be b, like the file"),
        ('name = "b"', 'name = "b"\nled = 2', "led is not one of name, title, chip, "),
        ('title = "B"', 'title = "B\\n"', "title must be text"),
        ('flash_mode = "dio"', 'flash_mode = "fast"', "flash_mode must be one of dio, dout, qio, qout"),
        ('flash_mode = "dio"', "", "flash_mode must be one of dio"),
        ('flash_mode = "dio"', 'flash_mode = "dio"\npsram = "octal"', "psram must be one of none, quad"),
        ("image_offset = 0x1000", "image_offset = 0x0", "image_offset must be 0x1000 for esp32: its ROM"),
        ("image_offset = 0x1000", "", "image_offset must be 0x1000 for esp32: its ROM"),
        (FIRST, "baud = 12345\n[image]", "baud must be one of 115200, 230400, 460800"),
        (FIRST, "baud = true\n[image]", "baud must be one of 115200, 230400, 460800"),
        (FIRST, 'before = "hard"\n[image]', "before must be one of default-reset, usb-reset, no-reset"),
        (FIRST, 'after = "hard"\n[image]', "after must be one of hard-reset, watchdog-reset, no-reset"),
        (FIRST, "[picture]", "picture is not one of name, title, chip"),
        (FIRST, "[image]\nmd5 = 5", "image.md5 is not one of version, file, url, sha256"),
        ('"1.25.0"', '"1.22.9"', "image.version must be a MicroPython from 1.23.0 on"),
        ('"1.25.0"', '"v1.25"', "image.version must be a MicroPython from 1.23.0 on"),
        ('"1.25.0"', "1.25", "image.version must be text"),
        ('"b.bin"', '"../b.bin"', "image.file must be a file's name that ends in .bin"),
        ('"b.bin"', '"b.uf2"', "image.file must be a file's name that ends in .bin"),
        ('"https:', '"http:', "image.url must begin with https:// (or http://, if there is a sha256)"),
        ('"https:', '"file:', "image.url must begin with https://"),
        (FIRST, '[image]\nsha256 = "abc"', "image.sha256 must be 64 digits 0-9 a-f"),
        (FIRST, f'[image]\nsha256 = "{"A" * 64}"', "image.sha256 must be 64 digits 0-9 a-f"),
        ("offset = 0x200000", "offset = 0x200010", "partition.offset must be a multiple of 4096"),
        ("offset = 0x200000", "offset = 0x300000", "ends behind the flash"),
        ("offset = 0x10000", "offset = 0x8000", "factory overlaps another, begins before 0x9000"),
        ("subtype = 0x81", "subtype = 0x181", "partition.subtype must be a number from 0 to 255"),
        ("subtype = 0x81", "subtype = 0x81\nflags = 1", "partition.flags is not one of label, type, subtype"),
        ('type = "data"', 'type = "code"', "partition.type must be one of app, data"),
        (
            'type = "app"',
            'type = "data"',
            "partition must include one with label vfs, for the files, and one of type app",
        ),
        ('label = "vfs"', 'label = "files"', "partition must include one with label vfs"),
        ('label = "vfs"', 'label = "factory"', "partition factory is there twice"),
        ('label = "vfs"', 'label = "a label of too many"', "longer than 16 bytes"),
        ('name = "b"', "name = [", "b.toml: "),
        (FIRST, "[partition]\na = 5\n[image]", "b.toml: "),
        (FIRST, "pins = 5\n" + FIRST, "pins must be a section"),
        (FIRST, "[pins]\nrelay = 5\n" + FIRST, "pins.relay is not one of led, button"),
        (FIRST, "[pins]\nled = 6\n" + FIRST, "pins.led must be a pin's number, one of 0-5, 12-23, 25-27, 32-33"),
        (FIRST, "[pins]\nled = 34\n" + FIRST, "pins.led must be a pin's number, one of 0-5, 12-23, 25-27, 32-33"),
        (FIRST, "[pins]\nbutton = 40\n" + FIRST, "pins.button must be a pin's number, one of 0-5, 12-23, 25-27, 3"),
        (FIRST, 'psram = "quad"\n[pins]\nled = 16\n[image]', "one of 0-5, 12-15, 18-23, 25-27, 32-33"),
        (FIRST, "[pins]\nbutton = true\n" + FIRST, "pins.button must be a pin's number"),
        (FIRST, "[pins]\nbutton = -2\n" + FIRST, "pins.button must be a pin's number"),
        (FIRST, '[link]\nkind = "lora"\n' + FIRST, "link.kind must be one of wifi, ethernet"),
        (FIRST, "[link]\nmdc = 23\n" + FIRST, "link.mdc is for an Ethernet board: set link.kind"),
        (FIRST, "[link]\nmcd = 23\n" + FIRST, "link.mcd is not one of kind, phy, phy_address, mdc"),
        (FIRST, ETHERNET.replace("LAN8720", "W5500") + FIRST, "link.phy must be one of DP83848, IP101"),
        (FIRST, ETHERNET.replace("phy_address = 1", "phy_address = 32") + FIRST, "a number from 0 to 31"),
        (FIRST, ETHERNET.replace("phy_address = 1", "") + FIRST, "link.phy_address must be a number"),
        (FIRST, ETHERNET.replace("mdc = 23", "") + FIRST, "link.mdc must be a pin's number"),
        (FIRST, ETHERNET.replace("mdc = 23", "mdc = 35") + FIRST, "link.mdc must be a pin's number"),
        (FIRST, ETHERNET + 'clock_out = "yes"\n' + FIRST, "link.clock_out must be true or false"),
    ],
)
def test_parse_names_file_and_key_of_a_mistake(old, new, message):
    with pytest.raises(BenchError) as caught:
        boards.parse(GOOD.replace(old, new), Path("boards/b.toml"))
    assert "boards/b.toml" in str(caught.value)
    assert message in str(caught.value)


def test_parse_refuses_ethernet_on_a_chip_without_it():
    other = GOOD.replace('"esp32"', '"esp32c3"').replace("0x1000\n", "0x0\n")
    assert boards.parse(other, Path("b.toml")).image_offset == 0
    with pytest.raises(BenchError, match=r'link\.kind must be "wifi" for esp32c3: only the esp32 has'):
        boards.parse(other.replace(FIRST, ETHERNET + FIRST), Path("b.toml"))


def test_parse_refuses_partitions_that_overlap():
    twice = GOOD + GOOD[GOOD.rindex("[[") :].replace('"vfs"', '"more"')
    with pytest.raises(BenchError, match="overlaps"):
        boards.parse(twice, Path("b.toml"))


def test_load_of_an_unknown_board_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"no board esp33; there is: .*esp32_generic"):
        boards.load("esp33")


@pytest.mark.parametrize("name", boards.names())
def test_every_definition_is_valid_and_named_like_its_file(name):
    assert boards.load(name).name == name


def test_settings_follow_from_how_a_board_is_wired():
    def sections(text):
        return device_config.wired(boards.parse(text, Path("b.toml")))

    assert sections(GOOD) == {}
    assert sections(GOOD.replace(FIRST, '[link]\nkind = "wifi"\n[pins]\nled = 2\n' + FIRST)) == {"board": {"led": 2}}
    wiring = {"phy": "LAN8720", "phy_address": 1, "mdc": 23, "mdio": 18, "power": -1, "clock": -1, "clock_out": False}
    assert sections(GOOD.replace(FIRST, ETHERNET + FIRST)) == {"ethernet": wiring}


@pytest.mark.parametrize("name", boards.names())
def test_firmware_knows_the_settings_of_every_board(name):
    sections = device_config.wired(boards.load(name))
    output = micropython.run(
        f"""
from firstboot import settings
values = {{"server": {{"host": "h"}}, "provision": {{"key": "k", "secret": "s"}}}}
values.update({sections!r})
found = settings.check(values)
print([found.value(name) for name in {[f"{part}.{key}" for part, keys in sections.items() for key in keys]!r}])
"""
    )
    assert output.strip() == str([value for keys in sections.values() for value in keys.values()])


def test_partition_table_is_what_esp_idf_wants():
    raw = partitions.encode(boards.load("esp32_generic").partitions)
    assert len(raw) == 0xC00
    # the entry of a 4 MB module's vfs partition, as in MicroPython's own image
    entry = struct.pack("<2sBBII16sI", b"\xaa\x50", 1, 0x81, 0x200000, 0x200000, b"vfs", 0)
    assert raw[96:128] == entry
    assert raw[128:160] == b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(raw[:128]).digest()
    assert set(raw[160:]) == {0xFF}
    assert partitions.decode(raw) == boards.load("esp32_generic").partitions


@pytest.mark.parametrize("at", [0, 20, 130, 145])
def test_partition_table_that_is_damaged_is_refused(at):
    raw = bytearray(partitions.encode(boards.load("esp32_generic").partitions))
    raw[at] ^= 1
    with pytest.raises(BenchError, match="partition table"):
        partitions.decode(bytes(raw))


def test_image_holds_the_files_and_nothing_else():
    board = boards.load("esp32_generic")
    files = {"main.py": b"print(1)\n", "lib/deep/er.mpy": bytes(range(256)) * 40, "empty": b""}
    flash = filesystem.build(board, files)
    assert len(flash) == board.flash_size
    assert filesystem.read_files(flash) == files
    assert set(flash[:0x8000]) == {0xFF}
    assert set(flash[0x9000:0x200000]) == {0xFF}


@pytest.mark.parametrize(
    "name", ["", ".", "/", "..", "../x", "lib", "main.py/x", "n" * 300, pytest.param("big", id="too big")]
)
def test_file_that_no_image_can_hold_is_refused(name):
    files = {"main.py": b"", "lib/a.py": b"", name: bytes(1 << 16 if name == "big" else 1)}
    with pytest.raises(UsageError, match="a board cannot hold a file"):
        filesystem.filesystem(1 << 16, files)


def test_firmware_is_bytecode_of_abi_6_for_every_chip():
    files = firmware.files()
    assert {"boot.py", "main.py", "firstboot/app.mpy", "firstboot/transports/mqtt.mpy"} <= files.keys()
    for name, content in files.items():
        if name.endswith(".mpy"):
            # 'M', version 6, no architecture: what MicroPython 1.23 and later take on any chip
            assert content[:3] == b"M\x06\x00", name


def test_firmware_that_does_not_compile_has_the_place():
    with pytest.raises(BenchError, match=r"bad\.py"):
        firmware.compile_mpy(b"def :\n", "bad.py")
