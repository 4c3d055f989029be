"""A board of any kind in the same words; `pytest tests/dut --bench-target virtual` (or PORT) has them of another."""

import pytest

from bench.dut.recorder import EventMissing
from bench.errors import BenchError
from bench.flash import filesystem
from bench.serial.raw_repl import ReplError

DAY_S = 86400
# An ESP32's time begins in 2000, and has 32 bits.
LAST = 946684800 + (1 << 31) - 1
HELLO = {"main.py": b"import time\nprint('hello')\nwhile True:\n  time.sleep(1)\n"}


@pytest.fixture
def board_files():
    return HELLO


def test_board_is_off_before_it_is_switched_on(board):
    assert not board.is_on
    with pytest.raises(EventMissing, match="it is off"):
        board.expect_event("boot")
    for use in (lambda: board.exec("pass"), lambda: board.send_line("anybody?")):
        with pytest.raises(BenchError, match="is off"):
            use()
    if board.kind == "virtual":
        assert board.power is None


def test_event_that_does_not_come_tells_what_came(board):
    board.power_on()
    board.expect_text("hello")
    with pytest.raises(EventMissing, match=r"no event online \{\"name\": 7\}, none came within 0.1 s"):
        board.expect_event("online", timeout_s=0.1, name=7)


def test_text_that_does_not_come_tells_the_last_that_came(board):
    board.install({"main.py": b"for n in range(1000):\n  print('line', n)\nimport nowhere\n"})
    board.power_on()
    board.expect_text("line 0")
    with pytest.raises(EventMissing, match=r"said .*'line 999', .*no module named 'nowhere'") as caught:
        board.expect_text("ready", timeout_s=5)
    assert "line 900" not in str(caught.value)


def test_event_is_expected_once(board):
    board.power_on()
    board.expect_text("hello")
    with pytest.raises(EventMissing):
        board.expect_text("hello", timeout_s=0.1)
    board.reset()
    board.expect_text("hello")


def test_install_leaves_nothing_else(board):
    board.install({**HELLO, "data/left.txt": b"over"})
    board.power_on()
    assert board.read_file("data/left.txt") == b"over"
    board.install(HELLO)
    assert not board.is_on
    board.power_on()
    with pytest.raises(ReplError, match="ENOENT"):
        board.read_file("data/left.txt")
    assert board.read_file("/main.py") == HELLO["main.py"]


def test_paths_may_be_from_the_root(board):
    board.install({"/main.py": HELLO["main.py"]})
    board.power_on()
    board.expect_text("hello")


def test_program_that_is_run_tells_what_it_prints(board):
    board.power_on()
    board.expect_text("hello")
    assert board.exec("print(6 * 7)").strip() == "42"
    with pytest.raises(ReplError, match="ZeroDivisionError"):
        board.exec("1 / 0")


def test_files_are_written_and_removed(board):
    board.power_on()
    content = bytes(range(256)) * 20
    board.write_files({"lib/deep/data.bin": content})
    assert board.read_file("lib/deep/data.bin") == content
    board.write_files({}, remove=("lib/deep/data.bin",))
    with pytest.raises(ReplError, match="ENOENT"):
        board.read_file("lib/deep/data.bin")


def test_program_starts_again_after_a_repl(board):
    board.power_on()
    board.exec("pass")
    board.reset()
    board.expect_text("hello")


def test_line_that_is_typed_reaches_the_program(board):
    board.install({"main.py": b"print('ready')\nwhile True:\n  print('got', input())\n"})
    board.power_on()
    board.expect_text("ready")
    board.send_line("some words")
    board.expect_text("got some words")


def test_console_is_in_the_log(board):
    board.power_on()
    board.expect_text("hello")
    board.power_off()
    assert b"hello" in board.log.read_bytes()


def test_clock_that_is_set_is_what_the_program_finds(board):
    board.install({"main.py": b"import time\nprint('year', time.gmtime()[0])\n"})
    board.power_on()
    board.expect_text("year")
    for now, year in ((LAST - 400 * DAY_S, 2066), (1 << 31, 2038), (2_000_000_000, 2033)):
        board.set_clock(now)
        board.expect_text(f"year {year}")
        assert 0 <= board.clock() - now < 60


@pytest.mark.parametrize("now", [LAST + 1, 1 << 32, 4102444800, 7_258_118_400])
def test_clock_is_not_set_beyond_its_32_bits(board, now):
    board.power_on()
    board.expect_text("hello")
    board.set_clock(2_000_000_000)
    with pytest.raises(ReplError, match=f"cannot be set to {now} s since 1970: .* the last is {LAST}"):
        board.set_clock(now)
    assert 0 <= board.clock() - 2_000_000_000 < 60


def test_install_over_an_interrupted_one_succeeds(board):
    """Files that were not renamed yet are there under their first name."""
    board.install({"main.py": b"print('old')\n", "main.py.new": b"half of", "lib/a.py.new": b"", "boot.py.new": b"x"})
    wanted = {"main.py": b"print('new')\n", "lib/a.py": b"x = 1\n"}
    board.power_on()
    board.install(wanted)
    board.power_on()
    board.expect_text("new")
    board.power_off()
    assert filesystem.read_files(board.read_flash()) == wanted


def test_files_are_written_over_what_an_interrupted_write_left(board):
    board.install({**HELLO, "data.new": b"half of"})
    board.power_on()
    board.expect_text("hello")
    board.exec("import os\nif 'data' not in os.listdir(): os.mkdir('data')")  # an empty folder is no hindrance
    board.write_files({"data": b"whole"}, remove=("data.new",))
    assert board.read_file("data") == b"whole"
    assert board.exec("import os\nprint(sorted(os.listdir()))").strip() == "['data', 'main.py']"


def test_flash_is_read_back(board):
    board.power_on()
    board.expect_text("hello")
    board.power_off()
    assert filesystem.read_files(board.read_flash()) == HELLO


def test_virtual_board_that_is_on_is_not_switched_on(board):
    board.power_on()
    if board.kind == "port":
        pytest.skip("a board on a port is reset then")
    with pytest.raises(BenchError, match="is on already"):
        board.power_on()
