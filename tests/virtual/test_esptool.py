"""The unmodified esptool against virtual boards."""

import random
import subprocess
from pathlib import Path

import pytest

from bench.virtual import line_server
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.uart_timing import LineFaults
from tests.support.esptool import AT, ESPTOOL, IMAGE, MAC, TOOL_TIMEOUT_S, esptool
from tests.support.servers import PATIENCE_S

pytestmark = pytest.mark.slow

FLASH_SIZE = 0x400000


def blank(folder: Path, definition: str = "esp32_generic") -> VirtualBoard:
    return VirtualBoard.create(folder, board=definition, mac=MAC, blank=True)


def written(board: VirtualBoard, at: int = AT, *, size: int = IMAGE.stat().st_size) -> bytes:
    return board.flash()[at : at + size]


@pytest.fixture
def board(tmp_path):
    return blank(tmp_path / "board")


@pytest.fixture
def other(tmp_path):
    """Some bytes that are not an image, not a multiple of a sector, and do not compress."""
    path = tmp_path / "other.bin"
    path.write_bytes(random.Random(1).randbytes(5 * 4096 + 77))
    return path


def test_a_board_that_runs_does_not_answer(board):
    with line_server.serve(board, raw=True) as served:
        served.reset(Start.RUN)
        command = [ESPTOOL, "--port", served.url, "--connect-attempts", "1", "read-mac"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    assert done.returncode
    assert "Failed to connect" in done.stderr


def test_the_wrong_chip_is_refused(board):
    with line_server.serve(board, raw=True, faults=LineFaults(chip="esp32s3")) as served:
        assert "This chip is ESP32-S3, not ESP32" in esptool(served, "--chip", "esp32", "flash-id", fails=True)


@pytest.mark.parametrize("stub", [[], ["--no-stub"]])
def test_a_sector_that_is_not_written_fails_the_verification(board, other, stub):
    with line_server.serve(board, raw=True, faults=LineFaults(bad_sectors=frozenset({18}))) as served:
        output = esptool(served, *stub, "write-flash", 0x10000, other, fails=True)
        assert "MD5 of file does not match data in flash" in output
    assert written(board, 18 * 4096, size=4096) == b"\xff" * 4096


@pytest.mark.parametrize("stub", [[], ["--no-stub"]])
def test_a_board_pulled_out_is_gone_until_it_is_plugged_in(board, stub):
    with line_server.serve(board, raw=True, faults=LineFaults(pull_at=1)) as served:
        esptool(served, *stub, "write-flash", AT, IMAGE, fails=True)
        assert served.wait_pulled_out(PATIENCE_S)
        assert "Could not open" in esptool(served, "read-mac", fails=True)
        pulled_at = FLASH_SIZE // 100
        assert written(board)[:pulled_at] == IMAGE.read_bytes()[:pulled_at]
        assert written(board)[pulled_at:] == b"\xff" * (len(written(board)) - pulled_at)
        served.plug_in()
        assert "Hash of data verified" in esptool(served, "write-flash", AT, IMAGE)
    assert written(board) == IMAGE.read_bytes()


@pytest.mark.parametrize(
    ("definition", "chip", "size"),
    [
        ("esp32_generic", "ESP32-D0WD-V3 (revision v3.0)", "4MB"),
        ("esp32_s2", "ESP32-S2 (revision v1.0)", "4MB"),
        ("esp32_s3_8mb", "ESP32-S3 (QFN56) (revision v0.2)", "8MB"),
        ("esp32_c3", "ESP32-C3 (QFN32) (revision v0.4)", "4MB"),
        ("esp32_c6", "ESP32-C6 (QFN40) (revision v0.1)", "4MB"),
    ],
)
@pytest.mark.parametrize("stub", [[], ["--no-stub"]])
def test_chips_are_recognised(tmp_path, definition, chip, size, stub):
    with line_server.serve(blank(tmp_path / "board", definition), raw=True) as served:
        output = esptool(served, *stub, "flash-id")
    for expected in (chip, "40MHz", "02:00:5e:00:53:01", f"Detected flash size: {size}"):
        assert expected in output
    assert ("Stub flasher running" in output) != bool(stub)
    assert "WARNING" not in output


def test_mac(board):
    with line_server.serve(board, raw=True) as served:
        assert "MAC:                02:00:5e:00:53:01" in esptool(served, "read-mac")


@pytest.mark.parametrize("stub", [[], ["--no-stub"]])
@pytest.mark.parametrize("form", ["--compress", "--no-compress"])
def test_a_real_image_is_written(board, stub, form):
    with line_server.serve(board, raw=True) as served:
        output = esptool(served, *stub, "--baud", 921600, "write-flash", form, AT, IMAGE)
    assert "Hash of data verified" in output
    assert ("compressed)" in output) == (form == "--compress")
    assert written(board) == IMAGE.read_bytes()
    assert set(board.flash()[:AT] + board.flash()[AT + IMAGE.stat().st_size :]) == {0xFF}


def test_several_files_and_what_is_between_them(board, other):
    with line_server.serve(board, raw=True) as served:
        esptool(served, "write-flash", 0x10000, other)
        esptool(served, "write-flash", 0x8000, other, 0x20000, other)
    flash = board.flash()
    assert all(flash[at:].startswith(other.read_bytes()) for at in (0x8000, 0x10000, 0x20000))


def test_what_is_in_the_flash_already_is_not_sent(board):
    with line_server.serve(board, raw=True) as served:
        esptool(served, "write-flash", AT, IMAGE)
        before = served.traffic.to_board
        assert "already in flash" in esptool(served, "write-flash", "--skip-flashed", AT, IMAGE)
        assert served.traffic.to_board - before < 15_000


def test_only_what_changed_is_sent(board, tmp_path):
    changed = tmp_path / "changed.bin"
    content = bytearray(IMAGE.read_bytes())
    content[500_000:500_100] = bytes(100)
    changed.write_bytes(content)
    with line_server.serve(board, raw=True) as served:
        esptool(served, "write-flash", AT, IMAGE)
        before = served.traffic.to_board
        output = esptool(served, "write-flash", "--diff-with", IMAGE, "--", AT, changed)
        assert "Hash of data verified" in output
        assert served.traffic.to_board - before < 20_000
    assert written(board) == content


def test_erasing(board, other):
    with line_server.serve(board, raw=True) as served:
        esptool(served, "write-flash", 0x10000, other)
        esptool(served, "erase-region", 0x11000, 0x2000)
        left = other.read_bytes()
        assert written(board, 0x10000, size=len(left)) == left[:0x1000] + b"\xff" * 0x2000 + left[0x3000:]
        esptool(served, "erase-flash")
    assert set(board.flash()) == {0xFF}


@pytest.mark.parametrize("stub", [[], ["--no-stub"]])
def test_reading(board, other, tmp_path, stub):
    copy = tmp_path / "copy.bin"
    with line_server.serve(board, raw=True) as served:
        esptool(served, "write-flash", 0x10000, other)
        esptool(served, *stub, "read-flash", 0x10000, other.stat().st_size, copy)
        assert copy.read_bytes() == other.read_bytes()
        assert "matched" in esptool(served, *stub, "verify-flash", 0x10000, other)


def test_a_line_with_dtr_and_rts(board, other):
    """One session over RFC 2217: reset into the loader, another rate, and a reset that runs the board again."""
    with line_server.serve(board) as served:
        output = esptool(served, "--baud", 921600, "write-flash", 0x10000, other)
        assert "Hash of data verified" in output
        assert "Hard resetting via RTS pin" in output
        assert served.power
    assert written(board, 0x10000, size=other.stat().st_size) == other.read_bytes()
