"""A virtual board boots its flash's content and nothing else; if that cannot boot, it prints what the chip prints."""

import os
from pathlib import Path

import pytest

from bench import boards
from bench.flash import filesystem, partitions
from bench.virtual.board import VirtualBoard

CHIPS = ["esp32_generic", "esp32_s2", "esp32_s3_8mb", "esp32_c3", "esp32_c6"]
ERASED = b"\xff"


def board_with(folder, change, definition="esp32_generic", **options):
    """A board whose flash was changed: `change(flash, definition)`."""
    board = VirtualBoard.create(folder, board=definition, **options)
    flash = bytearray(board.flash())
    change(flash, boards.load(definition))
    (folder / "flash.bin").write_bytes(flash)
    return board


def erase(flash, offset, size):
    flash[offset : offset + size] = ERASED * size


def expect_lines(power, *texts):
    for text in texts:
        power.expect_event("console", text=text)


def burnt_s(power):
    """Seconds for which the board's process kept a CPU busy."""
    fields = Path(f"/proc/{power.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("definition", CHIPS)
def test_blank_chip_prints_that_there_is_nothing_and_waits(tmp_path, definition):
    board = VirtualBoard.create(tmp_path / "b", board=definition, blank=True)
    assert set(board.flash()) == {0xFF}
    assert len(board.flash()) == boards.load(definition).flash_size
    with board.power_on() as power:
        expect_lines(power, "invalid header: 0xffffffff")
        power.type(b"\x03\x03\r\x01")
        begun = burnt_s(power)
        expect_lines(power, "invalid header: 0xffffffff", "invalid header: 0xffffffff")
        assert burnt_s(power) - begun < 0.5
    assert board.console.read_text().replace("invalid header: 0xffffffff\n", "") == ""
    assert power.writes == []


def test_chip_prints_what_it_found_instead_of_a_bootloader(tmp_path):
    def change(flash, board):
        flash[board.image_offset : board.image_offset + 4] = b"\x01\x02\x03\x04"

    with board_with(tmp_path / "b", change).power_on() as power:
        expect_lines(power, "invalid header: 0x04030201")


def test_bootloader_without_a_table_prints_that(tmp_path):
    def change(flash, board):
        erase(flash, partitions.TABLE_OFFSET, partitions.TABLE_SIZE)

    with board_with(tmp_path / "b", change).power_on() as power:
        expect_lines(power, "E (68) boot: load partition table error!")


@pytest.mark.parametrize("definition", ["esp32_generic", "esp32_generic_ota"])
def test_bootloader_without_a_program_prints_that(tmp_path, definition):
    def change(flash, board):
        for each in board.partitions:
            if each.type == 0:
                erase(flash, each.offset, each.size)

    with board_with(tmp_path / "b", change, definition).power_on() as power:
        expect_lines(power, "E (78) boot: No bootable app partitions in the partition table")


def test_damaged_file_system_is_reported_until_somebody_stops_it(tmp_path):
    def change(flash, board):
        vfs = board.partition("vfs")
        flash[vfs.offset : vfs.offset + vfs.size] = b"\x55" * vfs.size

    board = board_with(tmp_path / "b", change)
    before = board.flash()
    with board.power_on() as power:
        expect_lines(power, *["The filesystem appears to be corrupted."] * 2)
        power.type(b"\x03")
        expect_lines(power, 'Type "help()" for more information.')
    assert board.flash() == before


def test_erased_file_system_is_made_anew(tmp_path):
    def change(flash, board):
        vfs = board.partition("vfs")
        erase(flash, vfs.offset, vfs.size)

    board = board_with(tmp_path / "b", change)
    with board.power_on() as power:
        expect_lines(power, "Performing initial setup", 'Type "help()" for more information.')
    assert list(filesystem.read_files(board.flash())) == ["boot.py"]
    with board.power_on() as power:
        expect_lines(power, 'Type "help()" for more information.')
        assert power.events[0]["text"].startswith("MicroPython ")
    assert power.writes == []


def test_flash_without_a_partition_for_files_boots_to_the_repl(tmp_path):
    def change(flash, board):
        others = tuple(each for each in board.partitions if each.label != "vfs")
        flash[partitions.TABLE_OFFSET : partitions.TABLE_OFFSET + partitions.TABLE_SIZE] = partitions.encode(others)

    with board_with(tmp_path / "b", change).power_on() as power:
        expect_lines(power, 'Type "help()" for more information.')


READS = b"""
import esp, os, binascii
print(esp.flash_size())
found = bytearray(40)
for offset in (0x8000, %d, esp.flash_size() - 40):
    esp.flash_read(offset, found)
    print(binascii.hexlify(found).decode())
for offset in (-1, esp.flash_size() - 39):
    try:
        esp.flash_read(offset, found)
    except OSError:
        print("refused")
"""


@pytest.mark.parametrize("definition", CHIPS)
def test_program_reads_its_flash(tmp_path, definition):
    at = boards.load(definition).image_offset
    board = VirtualBoard.create(tmp_path / "b", board=definition, files={"main.py": READS % at})
    flash = board.flash()
    with board.power_on() as power:
        read = [flash[offset : offset + 40].hex() for offset in (0x8000, at, len(flash) - 40)]
        expect_lines(power, str(len(flash)), *read, "refused", "refused")
        chip = boards.load(definition).chip.upper()
        assert power.expect_event("console")["text"].endswith(f"; Generic {chip} module with {chip}")
