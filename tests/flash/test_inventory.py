"""The inventory, boards.local.toml, which the user and the bench write."""

import subprocess
import sys

import pytest

from bench.errors import BenchError, UsageError
from bench.flash import inventory
from bench.flash.probe import ProbedBoard, definitions_for
from tests.support.servers import PATIENCE_S

MAC = "02005e005301"
FOUND = ProbedBoard(port="/dev/ttyUSB0", mac=MAC, chip="esp32", flash_mb=4, micropython="1.25.0", firmware="0.1.0")

NOTES = """
import sys
from bench.flash import inventory
from bench.flash.probe import ProbedBoard
for board in range(10):
    mac = f"0200{int(sys.argv[1]):04x}{board:04x}"
    inventory.record(ProbedBoard(port=f"/dev/{mac}", mac=mac, chip="esp32", flash_mb=4))
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "boards.local.toml"
    monkeypatch.setenv("BENCH_BOARDS", str(path))
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[board", "boards.local.toml"),
        ("board = 1", "board must be sections"),
        ("[[board]]\ncolour = 'red'", "board.colour is not one of"),
        ("[[board]]\nname = 4", "board.name must be text"),
        ("[[board]]\nflash_mb = '4'", "board.flash_mb must be a number"),
        ("[[boards]]\nname = 'x'", "boards is not one of"),
    ],
)
def test_file_of_another_form_is_an_error_with_the_place(file, text, message):
    file.write_text(text)
    with pytest.raises(BenchError, match=message):
        inventory.read()


def test_file_of_another_form_is_not_written_to(file):
    file.write_text("[[board]]\ncolour = 'red'")
    with pytest.raises(BenchError):
        inventory.record(FOUND)
    assert file.read_text() == "[[board]]\ncolour = 'red'"


def test_inline_boards_are_not_written_to(file):
    file.write_text('board = [{name = "press-4"}]')
    assert [each.name for each in inventory.read()] == ["press-4"]
    with pytest.raises(BenchError, match=r"must be sections, \[\[board\]\]"):
        inventory.record(FOUND)
    assert file.read_text() == 'board = [{name = "press-4"}]'


def test_folder_in_its_place_is_an_error_with_the_place(file):
    file.mkdir()
    with pytest.raises(BenchError, match=r"boards\.local\.toml: Is a directory"):
        inventory.read()


def test_entries_of_processes_side_by_side_are_all_kept(file):
    noting = [subprocess.Popen([sys.executable, "-c", NOTES, str(number)]) for number in range(4)]
    assert [each.wait(PATIENCE_S) for each in noting] == [0] * 4
    assert len(inventory.read()) == 40


def test_no_file_is_no_boards(file):
    assert inventory.read() == []
    assert inventory.find(MAC) is None


def test_report_of_a_board_is_kept_and_found_by_any_name(file):
    known = inventory.record(FOUND, "esp32_generic")
    assert inventory.read() == [known]
    assert (known.definition, known.micropython, known.name) == ("esp32_generic", "1.25.0", "")
    assert known.seen
    assert inventory.find("02:00:5E:00:53:01") == inventory.find("/dev/ttyUSB0") == known


def test_users_values_comments_and_order_stay(file):
    file.write_text(
        '# the hall\n[[board]]\nname = "other"\n\n[[board]]  # by the door\nname = "press-4"\n'
        f'definition = "wt32_eth01"  # soldered\nmac = "{MAC}"\nport = "/dev/old"\n'
    )
    known = inventory.record(FOUND, "esp32_generic")
    assert (known.name, known.definition, known.port) == ("press-4", "wt32_eth01", "/dev/ttyUSB0")
    text = file.read_text()
    assert all(words in text for words in ("# the hall", "# by the door", "# soldered"))
    assert text.index("other") < text.index("press-4")
    assert file.stat().st_mode & 0o077 == 0


def test_port_that_has_another_board_now_is_no_longer_the_first_ones(file):
    inventory.record(FOUND)
    inventory.record(ProbedBoard(port="/dev/ttyUSB0", mac="02005e005302", chip="esp32", flash_mb=4))
    assert [(each.mac, each.port) for each in inventory.read()] == [(MAC, ""), ("02005e005302", "/dev/ttyUSB0")]


def test_name_of_the_inventory_is_as_good_as_its_port(file):
    file.write_text('[[board]]\nname = "press-4"\nport = "rfc2217://127.0.0.1:4000"\n')
    assert inventory.choose("press-4") == "rfc2217://127.0.0.1:4000"
    assert inventory.choose("/dev/ttyUSB7") == "/dev/ttyUSB7"


def test_mac_without_a_port_is_still_searched_for(file):
    file.write_text(f'[[board]]\nmac = "{MAC}"\n')
    with pytest.raises(UsageError, match="no port has "):
        inventory.choose(MAC)


def test_definitions_are_those_of_the_chip_that_fit_into_its_flash():
    fits = definitions_for(ProbedBoard(port="", mac=MAC, chip="esp32s3", flash_mb=4))
    assert fits == ["esp32_s3_4mb", "esp32_s3_4mb_quad"]
