"""The loader's protocol by its packets: what it refuses first, then what it does to the flash.

The packets are made here by Espressif's description of the protocol. That esptool, which has its own idea of it,
gets along with the loader is what tests/virtual/test_esptool.py is about.
"""

import hashlib
import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.virtual.rom_loader import chips, slip
from bench.virtual.rom_loader.flash import BLOCK, SECTOR, NorFlash, PulledOut
from bench.virtual.rom_loader.loader import Exit, RomLoader

SIZE = 4 * BLOCK
MAC = "02005e005301"
SYNC = b"\x07\x07\x12\x20" + b"\x55" * 32
FLASH_BEGIN, FLASH_DATA, FLASH_END, MEM_BEGIN, MEM_END, MEM_DATA = 2, 3, 4, 5, 6, 7
SYNC_COMMAND, WRITE_REG, READ_REG, READ_SLOW, CHANGE_BAUD = 8, 9, 10, 14, 15
DEFL_BEGIN, DEFL_DATA, DEFL_END, MD5, SECURITY = 16, 17, 18, 19, 20
ERASE_FLASH, ERASE_REGION, READ_FLASH, RUN = 0xD0, 0xD1, 0xD2, 0xD3
OK = b"\0\0"
NOISE = random.Random(5).randbytes(3 * SECTOR)


def numbers(*values):
    return struct.pack(f"<{len(values)}I", *values)


def checksum(data):
    value = 0xEF
    for byte in data:
        value ^= byte
    return value


class Host:
    """The other side of the line."""

    def __init__(self, path, *, chip="esp32", stub=False, **flash):
        path.write_bytes(b"\xff" * SIZE)
        self.flash = NorFlash(path, **flash)
        self.loader = RomLoader(chips.find(chip), MAC, self.flash, baud=115200)
        self.stub = stub
        if stub:
            self.request(MEM_BEGIN, numbers(4, 1, 4, 0x40080000))
            assert self.raw(MEM_END, numbers(0, 0x40080000))[-1] == b"OHAI"

    def exchange(self, packet):
        decoder = slip.Decoder(1 << 16)
        return [found for answer in self.loader.receive(slip.encode(packet)) for found in decoder.feed(answer)]

    def raw(self, command, data=b"", check=0):
        return self.exchange(struct.pack("<BBHI", 0, command, len(data), check) + data)

    def request(self, command, data=b"", check=0):
        """Value, data and status of the one answer."""
        (answer,) = self.raw(command, data, check)
        return self.parse(command, answer)

    def parse(self, command, answer):
        direction, echoed, size, value = struct.unpack_from("<BBHI", answer)
        assert (direction, echoed, size) == (1, command, len(answer) - 8)
        body = answer[8:]
        if not self.stub:
            assert body[-2:] == b"\0\0"
            body = body[:-2]
        return value, body[:-2], body[-2:]

    def status(self, command, data=b"", check=0):
        return self.request(command, data, check)[2]

    def block(self, command, data):
        return self.status(command, numbers(len(data), 0, 0, 0) + data, checksum(data))


@pytest.fixture
def rom(tmp_path):
    with (host := Host(tmp_path / "flash.bin")).flash:
        yield host


@pytest.fixture
def stub(tmp_path):
    with (host := Host(tmp_path / "flash.bin", stub=True)).flash:
        yield host


@pytest.fixture(params=["rom", "stub"])
def either(request):
    return request.getfixturevalue(request.param)


def test_find_a_chip_that_is_not_there():
    with pytest.raises(UsageError, match="there is: esp32, "):
        chips.find("esp8266")


@pytest.mark.parametrize("packet", [b"", b"\0", b"\0\x08\0\0\0\0\0", b"\x01\x08\0\0\0\0\0\0", b"\xff" * 8])
def test_receive_what_is_no_request(either, packet):
    assert either.exchange(packet) == []


@pytest.mark.parametrize(("fixture", "reason"), [("rom", 0x05), ("stub", 0xC3)])
def test_receive_a_command_there_is_not(request, fixture, reason):
    host = request.getfixturevalue(fixture)
    unknown = set(range(256)) - {*range(2, 12), *range(13, 21), *range(0xD0, 0xD4)}
    assert {host.status(command) for command in unknown} == {bytes([1, reason])}


@pytest.mark.parametrize("command", [ERASE_FLASH, ERASE_REGION, READ_FLASH, RUN, SECURITY])
def test_rom_of_the_esp32_lacks_commands(rom, command):
    assert rom.status(command, numbers(0, 0, 0, 0)) == b"\x01\x05"


def test_stub_lacks_the_slow_read(stub):
    assert stub.status(READ_SLOW, numbers(0, 4)) == b"\x01\xc3"


@pytest.mark.parametrize("size", [0, 1, 100, 0xFFFF])
@pytest.mark.parametrize(("fixture", "reason"), [("rom", 0x05), ("stub", 0xC0)])
def test_receive_a_wrong_size(request, fixture, reason, size):
    host = request.getfixturevalue(fixture)
    (answer,) = host.exchange(struct.pack("<BBHI", 0, READ_REG, size, 0) + numbers(0x40001000))
    assert host.parse(READ_REG, answer)[2] == bytes([1, reason])


@pytest.mark.parametrize("command", [FLASH_BEGIN, FLASH_DATA, FLASH_END, MEM_BEGIN, MEM_END, MEM_DATA, SYNC_COMMAND])
@pytest.mark.parametrize("data", [b"", b"\0\0\0"])
def test_receive_too_few_numbers(rom, command, data):
    assert rom.status(command, data) == b"\x01\x05"


@pytest.mark.parametrize(("fixture", "reason"), [("rom", 0x07), ("stub", 0xC1)])
@pytest.mark.parametrize(("begin", "command"), [(FLASH_BEGIN, FLASH_DATA), (DEFL_BEGIN, DEFL_DATA)])
def test_write_with_a_wrong_checksum(request, fixture, reason, begin, command):
    host = request.getfixturevalue(fixture)
    assert host.status(begin, numbers(4, 1, 4, 0)) == OK
    assert host.status(command, numbers(4, 0, 0, 0) + b"abcd", checksum(b"abce")) == bytes([1, reason])
    assert host.flash.read(0, 4) == b"\xff" * 4


@pytest.mark.parametrize(("fixture", "reason"), [("rom", 0x05), ("stub", 0xC0)])
def test_write_with_a_wrong_block_size(request, fixture, reason):
    host = request.getfixturevalue(fixture)
    host.status(FLASH_BEGIN, numbers(8, 1, 8, 0))
    assert host.status(FLASH_DATA, numbers(8, 0, 0, 0) + b"abcd", checksum(b"abcd")) == bytes([1, reason])


@pytest.mark.parametrize(("fixture", "reason"), [("rom", 0x06), ("stub", 0xC6)])
@pytest.mark.parametrize("begun", [None, FLASH_BEGIN, DEFL_BEGIN])
def test_write_what_was_not_begun(request, fixture, reason, begun):
    host = request.getfixturevalue(fixture)
    if begun:
        host.status(begun, numbers(4, 1, 4, 0))
    command = FLASH_DATA if begun == DEFL_BEGIN else DEFL_DATA
    assert host.block(command, b"abcd") == bytes([1, reason])


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (FLASH_BEGIN, (SECTOR, 4, 1024, SIZE)),
        (FLASH_BEGIN, (SIZE + 1, 1, 1, 0)),
        (FLASH_BEGIN, (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)),
        (DEFL_BEGIN, (1, 1, 1, SIZE)),
        (MD5, (SIZE, 1, 0, 0)),
        (MD5, (0, 0xFFFFFFFF, 0, 0)),
    ],
)
@pytest.mark.parametrize(("fixture", "reason"), [("rom", 0x08), ("stub", 0xC4)])
def test_reach_beyond_the_flash(request, fixture, reason, command, arguments):
    host = request.getfixturevalue(fixture)
    assert host.status(command, numbers(*arguments)) == bytes([1, reason])


@pytest.mark.parametrize("region", [(1, SECTOR), (0, 1), (SECTOR - 1, SECTOR)])
def test_erase_a_part_of_a_sector(stub, region):
    assert stub.status(ERASE_REGION, numbers(*region)) == b"\x01\xc2"


@pytest.mark.parametrize("baud", [0, 299, 5_000_001, 0xFFFFFFFF])
def test_change_to_a_rate_there_is_not(either, baud):
    assert either.status(CHANGE_BAUD, numbers(baud, 0))[0] == 1
    assert either.loader.baud == 115200


def test_sync_with_another_body(rom):
    assert rom.status(SYNC_COMMAND, SYNC[:-1] + b"\x54") == b"\x01\x05"


def test_load_what_was_not_begun(rom):
    assert rom.block(MEM_DATA, b"abcd") == b"\x01\x06"


def test_run_where_nothing_was_loaded(rom):
    rom.request(MEM_BEGIN, numbers(4, 1, 4, 0x40080000))
    assert len(rom.raw(MEM_END, numbers(0, 0x40080004))) == 1
    assert rom.loader.exit is Exit.RESET
    assert rom.raw(SYNC_COMMAND, SYNC) == []


@pytest.mark.parametrize("broken", [b"no deflate at all", zlib.compress(NOISE)[:-1] + b"\0"])
def test_write_what_does_not_inflate(stub, broken):
    """The stub says so with the next block: it acknowledges before it writes."""
    stub.status(DEFL_BEGIN, numbers(len(NOISE) + 1, 2, 0x4000, 0))
    assert stub.block(DEFL_DATA, broken) == OK
    assert stub.block(DEFL_DATA, b"more") == b"\x01\xc7"
    assert stub.status(DEFL_END, numbers(1)) == b"\x01\xc7"


def test_write_what_does_not_inflate_to_the_rom(rom):
    rom.status(DEFL_BEGIN, numbers(SECTOR, 1, 0x4000, 0))
    assert rom.block(DEFL_DATA, b"no deflate at all") == b"\x01\x0b"


def test_write_more_than_begun(stub):
    """However much it inflates to, no more than what was begun is written, or kept in memory."""
    stub.status(DEFL_BEGIN, numbers(100, 1, 0x4000, 0))
    assert stub.block(DEFL_DATA, zlib.compress(b"\0" * (8 << 20))[:0x4000]) == OK
    assert stub.status(DEFL_END, numbers(1)) == b"\x01\xc9"
    assert stub.flash.read(0, 200) == b"\xff" * 200


def test_end_a_write_too_early(stub):
    stub.status(FLASH_BEGIN, numbers(8, 1, 8, 0))
    stub.block(FLASH_DATA, b"abcd")
    assert stub.status(FLASH_END, numbers(1)) == b"\x01\xc8"


def test_end_a_write_that_was_not_begun(stub):
    assert stub.status(FLASH_END, numbers(1)) == b"\x01\xc6"


@pytest.mark.parametrize("block", [0, 0x4001, 0xFFFFFFFF])
def test_read_by_blocks_there_are_not(stub, block):
    assert stub.status(READ_FLASH, numbers(0, SECTOR, block, 64)) == b"\x01\xc2"


def test_read_with_a_broken_acknowledgement_ends(stub):
    assert len(stub.raw(READ_FLASH, numbers(0, 2 * SECTOR, SECTOR, 64))) == 2
    assert stub.exchange(b"abc") == []
    assert len(stub.raw(SYNC_COMMAND, SYNC)) == 8


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40), st.integers(0, 255)), max_size=30))
@settings(max_examples=300, deadline=None)
def test_receive_survives_anything(tmp_path_factory, requests):
    for with_stub in (False, True):
        host = Host(tmp_path_factory.mktemp("any") / "flash.bin", stub=with_stub)
        with host.flash:
            for command, data, check in requests:
                host.raw(command, data, check)
            list(host.loader.receive(b"".join(data for _, data, _ in requests)))


@pytest.mark.parametrize(("chip", "answers"), [("esp32", 0x20120707), ("esp32s3", 0x20120707)])
def test_sync_is_answered_eight_times(tmp_path, chip, answers):
    with (host := Host(tmp_path / "flash.bin", chip=chip)).flash:
        found = [host.parse(SYNC_COMMAND, each) for each in host.raw(SYNC_COMMAND, SYNC)]
        assert found == [(answers, b"", OK)] * 8


def test_sync_tells_the_stub(stub):
    assert [stub.parse(SYNC_COMMAND, each) for each in stub.raw(SYNC_COMMAND, SYNC)] == [(0, b"", OK)] * 8


@pytest.mark.parametrize(
    ("chip", "info"),
    [("esp32s2", b"\0" * 12), *((chip, b"\0" * 12 + numbers(n, 0)) for chip, n in (("esp32s3", 9), ("esp32c3", 5)))],
)
def test_security_info(tmp_path, chip, info):
    with (host := Host(tmp_path / "flash.bin", chip=chip)).flash:
        assert host.request(SECURITY) == (0, info, OK)


def test_crystal_shows_in_the_uart_divider(rom):
    assert rom.request(READ_REG, numbers(0x3FF40014)) == (40_000_000 // 115200, b"", OK)
    rom.request(CHANGE_BAUD, numbers(460800, 0))
    assert rom.request(READ_REG, numbers(0x3FF40014)) == (40_000_000 // 460800, b"", OK)


def test_write_register_keeps_what_the_mask_leaves(rom):
    rom.request(WRITE_REG, numbers(0x3FF00000, 0xFFFF, 0xFFFFFFFF, 0))
    rom.request(WRITE_REG, numbers(0x3FF00000, 0x51234, 0x00FF, 0))
    assert rom.request(READ_REG, numbers(0x3FF00000))[0] == 0xFF34


def test_rate_changes_after_the_answer(either):
    request = slip.encode(struct.pack("<BBHI", 0, CHANGE_BAUD, 8, 0) + numbers(921600, 115200))
    assert [either.loader.baud for _ in either.loader.receive(request)] == [115200]
    assert either.loader.baud == 921600


@pytest.mark.parametrize("size", [1, 100, SECTOR, len(NOISE)])
@pytest.mark.parametrize("offset", [0, SECTOR])
@pytest.mark.parametrize("deflated", [False, True])
def test_write(either, size, offset, deflated):
    either.flash.program(0, b"\0" * BLOCK)
    data = NOISE[:size]
    sent = zlib.compress(data) if deflated else data
    block = 1024
    blocks = [sent[at : at + block] for at in range(0, len(sent), block)]
    begin, command, end = (DEFL_BEGIN, DEFL_DATA, DEFL_END) if deflated else (FLASH_BEGIN, FLASH_DATA, FLASH_END)
    assert either.status(begin, numbers(size, len(blocks), block, offset)) == OK
    for each in blocks:
        assert either.block(command, each if deflated else each.ljust(block, b"\xff")) == OK
    assert either.status(end, numbers(1)) == OK
    gone = -(-size // SECTOR) * SECTOR
    assert either.flash.read(offset, size) == data
    assert either.flash.read(offset + size, gone - size) == b"\xff" * (gone - size)
    assert either.flash.read(offset + gone, 1) == b"\0"
    assert either.flash.read(0, offset) == b"\0" * offset
    assert either.loader.exit is (None if either.stub else Exit.RUN)


def test_stub_erases_no_more_than_it_writes(stub):
    """By 64 KiB ahead where that is all to be written, by 4 KiB where it is not."""
    stub.flash.program(0, b"\0" * SIZE)
    size = BLOCK + 2 * SECTOR
    stub.status(FLASH_BEGIN, numbers(size, 17, SECTOR, BLOCK - SECTOR))
    stub.block(FLASH_DATA, b"\0" * SECTOR)
    assert stub.flash.read(BLOCK, 1) == b"\0"
    stub.block(FLASH_DATA, b"\0" * SECTOR)
    assert stub.flash.read(BLOCK + SECTOR, BLOCK - SECTOR) == b"\xff" * (BLOCK - SECTOR)
    assert stub.flash.read(2 * BLOCK, 1) == b"\0"


def test_stub_acknowledges_before_it_writes(stub):
    stub.status(FLASH_BEGIN, numbers(4, 1, 4, 0))
    request = slip.encode(struct.pack("<BBHI", 0, FLASH_DATA, 20, checksum(b"abcd")) + numbers(4, 0, 0, 0) + b"abcd")
    before = [stub.flash.read(0, 4) for _ in stub.loader.receive(request)]
    assert (before, stub.flash.read(0, 4)) == ([b"\xff" * 4], b"abcd")


def test_stub_writes_no_more_of_the_last_block_than_was_begun(stub):
    stub.status(FLASH_BEGIN, numbers(100, 1, 1024, 0))
    assert stub.block(FLASH_DATA, bytes(1024)) == OK
    assert stub.flash.read(0, 1024) == bytes(100) + b"\xff" * 924
    assert stub.status(FLASH_END, numbers(1)) == OK


def test_end_of_a_write_resets_the_stub(stub):
    stub.status(FLASH_BEGIN, numbers(0, 0, 0x4000, 0))
    assert stub.status(FLASH_END, numbers(0)) == OK
    assert stub.loader.exit is Exit.RESET


def test_run_has_no_answer(stub):
    assert stub.raw(RUN) == []
    assert stub.loader.exit is Exit.RUN


def test_md5(rom, tmp_path):
    rom.flash.program(100, NOISE)
    digest = hashlib.md5(NOISE)
    assert rom.request(MD5, numbers(100, len(NOISE), 0, 0)) == (0, digest.hexdigest().encode(), OK)


def test_md5_of_the_stub(stub):
    stub.flash.program(100, NOISE)
    assert stub.request(MD5, numbers(100, len(NOISE), 0, 0)) == (0, hashlib.md5(NOISE).digest(), OK)


@pytest.mark.parametrize("size", [0, 1, 64])
def test_read_slowly(rom, size):
    rom.flash.program(100, NOISE)
    assert rom.request(READ_SLOW, numbers(100, size)) == (0, NOISE[:size].ljust(64, b"\0"), OK)


@pytest.mark.parametrize("size", [65, 0xFFFFFFFF])
def test_read_too_much_slowly(rom, size):
    assert rom.status(READ_SLOW, numbers(0, size))[0] == 1


@pytest.mark.parametrize("size", [1, SECTOR - 1, SECTOR, 2 * SECTOR + 5])
@pytest.mark.parametrize("in_flight", [1, 64, 2 * SECTOR])
def test_read(stub, size, in_flight):
    stub.flash.program(0, NOISE)
    answer, *blocks = stub.raw(READ_FLASH, numbers(0, size, SECTOR, in_flight))
    assert stub.parse(READ_FLASH, answer) == (0, b"", OK)
    got = b""
    while len(got) < size:
        got += blocks.pop(0)
        blocks += stub.exchange(numbers(len(got)))
    assert got == NOISE[:size]
    assert blocks == [hashlib.md5(got).digest()]
    assert len(stub.raw(SYNC_COMMAND, SYNC)) == 8


def test_erase_region(stub):
    stub.flash.program(0, b"\0" * SIZE)
    assert stub.status(ERASE_REGION, numbers(SECTOR, 2 * SECTOR)) == OK
    expected = b"\0" * SECTOR + b"\xff" * (2 * SECTOR) + b"\0" * (SIZE - 3 * SECTOR)
    assert stub.flash.read(0, SIZE) == expected


def test_erase_flash(stub):
    stub.flash.program(0, b"\0" * SIZE)
    assert stub.status(ERASE_FLASH) == OK
    assert stub.flash.read(0, SIZE) == b"\xff" * SIZE


@given(st.integers(0, 3 * SECTOR), st.binary(max_size=2 * SECTOR), st.binary(max_size=2 * SECTOR))
@settings(deadline=None)
def test_programming_clears_bits_and_never_sets_one(tmp_path_factory, at, first, second):
    path = tmp_path_factory.mktemp("nor") / "flash.bin"
    path.write_bytes(b"\xff" * SIZE)
    with NorFlash(path) as flash:
        flash.program(at, first)
        flash.program(at, second)
        longest = max(len(first), len(second))
        both = zip(first.ljust(longest, b"\xff"), second.ljust(longest, b"\xff"), strict=True)
        assert flash.read(at, longest) == bytes(a & b for a, b in both)
        assert flash.read(0, SIZE).count(0xFF) >= SIZE - longest


def test_a_bad_sector_keeps_what_is_in_it(tmp_path):
    path = tmp_path / "flash.bin"
    path.write_bytes(b"\xff" * SIZE)
    with NorFlash(path, bad_sectors={1}) as flash:
        flash.program(SECTOR - 2, b"abcd")
        assert flash.read(SECTOR - 2, 4) == b"ab\xff\xff"
        flash.erase(0, 2 * SECTOR)
        assert flash.read(0, 2 * SECTOR) == b"\xff" * (2 * SECTOR)
    path.write_bytes(b"\0" * SIZE)
    with NorFlash(path, bad_sectors={1}) as flash:
        flash.erase(0, 3 * SECTOR)
        assert flash.read(0, 3 * SECTOR) == b"\xff" * SECTOR + b"\0" * SECTOR + b"\xff" * SECTOR


@pytest.mark.parametrize("pull_after", [1, 7, 8, 9, 4096, 5000])
def test_a_board_is_pulled_out_once_and_to_the_byte(tmp_path, pull_after):
    path = tmp_path / "flash.bin"
    path.write_bytes(b"\xff" * SIZE)
    with NorFlash(path, pull_after=pull_after) as flash:
        flash.program(0, NOISE[: pull_after // 2])
        with pytest.raises(PulledOut):
            flash.program(pull_after // 2, NOISE[pull_after // 2 :])
        assert flash.read(0, len(NOISE)) == NOISE[:pull_after].ljust(len(NOISE), b"\xff")
        flash.program(0, bytes(len(NOISE)))
        assert flash.read(0, len(NOISE)) == bytes(len(NOISE))
