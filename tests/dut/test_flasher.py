"""A board's flash, written by esptool in a test; skipped where there is no line: `--bench-target virtual` has one."""

import pytest

from bench.serial.raw_repl import ReplError
from tests.support.flash_commands import IMAGE

pytestmark = pytest.mark.destructive


@pytest.fixture
def board_files():
    return {"main.py": b"print('hello')\n"}


def test_erased_board_runs_nothing_until_it_is_written(board, flasher):
    flasher.erase()
    assert set(flasher.read(0, 0x10000)) == {0xFF}
    board.power_on()
    with pytest.raises(ReplError):
        board.exec("pass")
    done = flasher.write({"main.py": b"print('new')\n", "data.bin": bytes(100)}, IMAGE)
    assert done.image == "1.25.0"
    assert done.sent > 500_000
    board.power_on()
    board.expect_text("new")
    assert board.read_file("data.bin") == bytes(100)


def test_erased_partition_leaves_the_others(board, flasher):
    flasher.erase("nvs")
    board.power_on()
    board.expect_text("hello")
