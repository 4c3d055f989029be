"""`bench flash` on bad lines and bad flash: online in the end, or a line with the cure, and the next run mends it."""

import pytest

from bench import boards
from bench.flash import images
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import serve
from bench.virtual.uart_timing import LineFaults
from tests.support.flash_commands import IMAGE, bench, options, result

pytestmark = pytest.mark.slow

BOARD = boards.load("esp32_generic")
SECTOR = 4096
CURES = ("go slower", "flash it again", "hold BOOT")


@pytest.fixture
def blank(tmp_path):
    return VirtualBoard.create(tmp_path / "blank", blank=True)


@pytest.fixture
def half(blank):
    """The image is there but for its bootloader: little has to be sent."""
    flash = bytearray(blank.flash())
    for offset, content in images.parts(IMAGE.read_bytes(), BOARD)[1:]:
        flash[offset : offset + len(content)] = content
    (blank.folder / "flash.bin").write_bytes(flash)
    return blank


@pytest.mark.parametrize("sector", [BOARD.image_offset // SECTOR, BOARD.partition("vfs").offset // SECTOR], ids=hex)
def test_sector_that_is_not_written_is_found(server, half, sector):
    with serve(half, faults=LineFaults(bad_sectors=frozenset({sector}))) as line:
        done = bench("flash", "--port", line.url, *options(server))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{line.url}: the flash does not hold what was sent" in done.stderr
    assert "try again, and slower" in done.stderr
    assert server.device_names() == []


@pytest.mark.parametrize("drop", [1e-5, 1e-3])
def test_line_that_loses_bytes_is_online_or_names_the_cure_and_a_good_one_mends_it(server, half, drop, report):
    with serve(half, faults=LineFaults(drop=drop, seed=1)) as line:
        done = bench("flash", "--port", line.url, *options(server, "--timeout", "20"))
    report(f"flash on a line that loses one byte in {1 / drop:.0f}: {done.stderr.strip() or 'online'}")
    assert done.returncode in (0, 1)
    assert done.stderr.count("\n") == done.returncode
    assert not done.returncode or any(cure in done.stderr for cure in CURES), done.stderr
    with serve(half) as line:
        assert result(bench("flash", "--port", line.url, *options(server, "--json")))["name"]
    assert server.device_names() == [f"firstboot-{half.mac}"]
