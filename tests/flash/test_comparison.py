"""The files that a board is sent, and the definitions that fit it, from the board's own report."""

import pytest

from bench import boards
from bench.errors import BenchError
from bench.flash import comparison
from bench.flash.inspection import Inspection, digest

BOARD = boards.load("esp32_generic")
WANTED = {"main.py": b"new", "firstboot/app.py": b"app"}
ON_BOARD = {
    "/main.py": b"old",
    "/firstboot/app.py": b"app",
    "/firstboot/older.py": b"",
    "/main.py.new": b"n",
    "/table.bin.new": b"",
    "/settings.json": b"{}",
    "/device.key": b"",
    "/vault.a": b"",
    "/notes.txt": b"",
}


def report(**others):
    values = {
        "chip": BOARD.chip,
        "micropython": (1, 24, 0),
        "mac": "0" * 12,
        "flash_size": BOARD.flash_size,
        "room": BOARD.partition("vfs").size,
        "files": {path: digest(content) for path, content in ON_BOARD.items()},
        "parts": (digest(b"a"), digest(b"b")),
    }
    return Inspection(**{**values, **others})


@pytest.mark.parametrize(
    ("with_settings", "removed"), [(False, set()), (True, {"/settings.json", "/device.key"})], ids=["deploy", "flash"]
)
def test_files_that_differ_are_sent_and_only_the_bench_s_own_are_removed(with_settings, removed):
    changed, gone = comparison.file_changes(report(), WANTED, with_settings=with_settings)
    assert changed == {"/main.py": b"new"}
    assert set(gone) == {"/firstboot/older.py", "/table.bin.new", *removed}


def test_image_is_on_the_board_if_each_region_is():
    assert comparison.has_image(report(), [(0, b"a"), (8, b"b")])
    assert not comparison.has_image(report(), [(0, b"a"), (8, b"c")])


def test_image_that_was_not_inspected_counts_as_right():
    assert comparison.has_image(report(parts=()), [(0, b"a")])


@pytest.mark.parametrize("others", [{}, {"chip": ""}, {"flash_size": 2 * BOARD.flash_size}, {"files": None, "room": 0}])
def test_definition_of_this_board_fits(others):
    comparison.check_definition(report(**others), BOARD)


@pytest.mark.parametrize(
    ("others", "error"),
    [
        ({"chip": "esp32c3"}, "this is an esp32c3"),
        ({"flash_size": 1 << 20}, "has 1 MB of flash"),
        ({"room": 1 << 20}, "another layout"),
    ],
)
def test_definition_of_another_board_is_refused(others, error):
    with pytest.raises(BenchError, match=error):
        comparison.check_definition(report(**others), BOARD)
