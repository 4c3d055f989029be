"""The commands of the loader: Espressif's serial protocol, as the ROMs of the family and esptool's stub speak it.

A request is `00 command size checksum data`, an answer `01 command size value data status`; numbers are
little-endian, sizes 16 and the rest 32 bits. A status is two bytes, failure and reason; the ROM adds two more.
"""

import enum
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import xor

from bench.virtual.rom_loader import slip
from bench.virtual.rom_loader.chips import Chip
from bench.virtual.rom_loader.flash import BLOCK, SECTOR, NorFlash
from bench.virtual.rom_loader.registers import Registers

_REQUEST = struct.Struct("<BBHI")
_REQUEST_DIRECTION, _ANSWER_DIRECTION = 0, 1
_DONE = b"\0\0"
_LONGEST_BLOCK = 0x4000
_LONGEST = _LONGEST_BLOCK + 256
_SEGMENTS = 16
_BAUDS = range(300, 5_000_001)
_CHECKSUM_SEED = 0xEF
_SYNC = b"\x07\x07\x12\x20" + b"\x55" * 32
_SYNC_VALUE = 0x20120707  # by which esptool tells the ROM from a stub that still runs: that answers 0
_SLOW_READ = 64
_SECURITY_INFO = struct.pack("<I8B", 0, 0, 0, 0, 0, 0, 0, 0, 0)  # no flags, no keys
_GREETING = b"OHAI"


class Reason(enum.Enum):
    """Reasons for refusing a request, as the status codes of the ROM and of the stub."""

    LENGTH = (0x05, 0xC0)
    CHECKSUM = (0x07, 0xC1)
    BLOCK_SIZE = (0x05, 0xC2)
    COMMAND = (0x05, 0xC3)
    FLASH = (0x08, 0xC4)
    NO_SESSION = (0x06, 0xC6)
    INFLATE = (0x0B, 0xC7)
    TOO_LITTLE = (0x06, 0xC8)
    TOO_MUCH = (0x06, 0xC9)


class CommandRefused(Exception):
    """The loader refuses a request."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


class Exit(enum.Enum):
    """Ways to leave the loader."""

    RUN = enum.auto()
    RESET = enum.auto()


class _Write:
    """A write to the flash that was begun. `failed`: the reason for losing a block that the stub had acknowledged."""

    def __init__(self, offset: int, size: int, *, deflated: bool) -> None:
        self.at = offset
        self.end = offset + size
        self.erased = offset - offset % SECTOR
        self.failed: Reason | None = None
        self.inflate = zlib.decompressobj() if deflated else None

    def plain(self, data: bytes) -> bytes:
        """Return the bytes of a block for the flash. Raises CommandRefused."""
        if not self.inflate:
            return data[: self.end - self.at]
        try:
            plain = self.inflate.decompress(data, self.end - self.at + 1)
        except zlib.error:
            raise CommandRefused(Reason.INFLATE) from None
        if len(plain) > self.end - self.at:
            raise CommandRefused(Reason.TOO_MUCH)
        return plain


@dataclass
class _Read:
    """A read of the flash by the stub, which goes on as it is acknowledged."""

    offset: int
    length: int
    block: int
    in_flight: int
    sent: int = 0
    acknowledged: int = 0


class RomLoader:
    """A chip in download mode: bytes from the line in, bytes for the line out.

    `baud` is the rate of the chip's side of the line; `exit` is the way in which the loader was left, None while it
    runs. The methods that `_COMMANDS` names carry out one command each: they return value and data of its answer, or
    None for (0, no data), and raise CommandRefused.
    """

    def __init__(self, chip: Chip, mac: str, flash: NorFlash, *, baud: int) -> None:
        """Start the ROM's loader.

        Args:
            chip: The chip that it runs on.
            mac: The chip's MAC, 12 hex digits.
            flash: The flash behind the chip.
            baud: The rate at first, in bits/s.
        """
        self.baud = baud
        self.exit: Exit | None = None
        self._chip = chip
        self._flash = flash
        self._registers = Registers(chip, mac, flash.size)
        self._packets = slip.Decoder(_LONGEST)
        self._is_stub = False
        self._loaded: deque[range] = deque(maxlen=_SEGMENTS)  # where programs were loaded into its memory
        self._write: _Write | None = None
        self._read: _Read | None = None
        self._later: Callable[[], Iterable[bytes]] | None = None  # the work after the answer; its result is sent, too

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Yield the answers to requests.

        Args:
            data: Bytes from the line; a packet may come in pieces.

        Yields:
            Bytes for the line, to be sent at the rate that `baud` has at that moment.

        Raises:
            PulledOut: The power went in a write to the flash.
        """
        for packet in self._packets.feed(data):
            if self.exit:
                return
            if self._read:
                yield from self._go_on_reading(self._read, packet)
            else:
                yield from self._answer(packet)

    def _answer(self, packet: bytes) -> Iterator[bytes]:
        if len(packet) < _REQUEST.size or packet[0] != _REQUEST_DIRECTION:
            return
        command = packet[1]
        value, payload, status, times = 0, b"", _DONE, 1
        try:
            value, payload = self._do(packet)
            times = _COMMANDS[command].answers
            if self.exit:
                return
        except CommandRefused as refused:
            status = bytes([1, refused.reason.value[self._is_stub]])
        body = payload + (status if self._is_stub else status + b"\0\0")
        yield slip.encode(struct.pack("<BBHI", _ANSWER_DIRECTION, command, len(body), value) + body) * times
        later, self._later = self._later, None
        if later:
            yield from later()

    def _do(self, packet: bytes) -> tuple[int, bytes]:
        """Carry out one request; return the value and the data of the answer. Raises CommandRefused."""
        _, number, size, checksum = _REQUEST.unpack_from(packet)
        data = packet[_REQUEST.size :]
        if size != len(data):
            raise CommandRefused(Reason.LENGTH)
        command = _COMMANDS.get(number)
        if not command or not (command.stub if self._is_stub else command.rom):
            raise CommandRefused(Reason.COMMAND)
        if len(data) < 4 * command.numbers:
            raise CommandRefused(Reason.LENGTH)
        numbers = struct.unpack_from(f"<{command.numbers}I", data)
        rest = data[4 * command.numbers :]
        if not command.data:
            return command.does(self, *numbers) or (0, b"")
        if command.numbers:
            if numbers[0] != len(rest):
                raise CommandRefused(Reason.LENGTH)
            if reduce(xor, rest, _CHECKSUM_SEED) != checksum:
                raise CommandRefused(Reason.CHECKSUM)
        return command.does(self, rest) or (0, b"")

    def sync(self, data: bytes) -> tuple[int, bytes]:
        if data != _SYNC:
            raise CommandRefused(Reason.LENGTH)
        return 0 if self._is_stub else _SYNC_VALUE, b""

    def read_register(self, address: int) -> tuple[int, bytes]:
        return self._registers.read(address, self.baud), b""

    def write_registers(self, data: bytes) -> None:
        if not data or len(data) % 16:
            raise CommandRefused(Reason.LENGTH)
        for address, value, mask, _delay_us in struct.iter_unpack("<4I", data):
            self._registers.write(address, value, mask)

    def security_info(self) -> tuple[int, bytes]:
        if not self._chip.security_info:
            raise CommandRefused(Reason.COMMAND)
        identity = b"" if self._chip.chip_id is None else struct.pack("<II", self._chip.chip_id, 0)
        return 0, _SECURITY_INFO + identity

    def accept(self, *_: int) -> None:
        """Accept pins and parameters of the flash chip: there is but the one."""

    def change_baud(self, baud: int, _old: int) -> None:
        if baud not in _BAUDS:
            raise CommandRefused(Reason.LENGTH)
        self._later = lambda: self._set_baud(baud)

    def mem_begin(self, size: int, _blocks: int, _block_size: int, address: int) -> None:
        self._loaded.append(range(address, address + size))

    def mem_data(self, _data: bytes) -> None:
        if not self._loaded:
            raise CommandRefused(Reason.NO_SESSION)

    def mem_end(self, stay: int, entry: int) -> None:
        """Run the loaded program, which is assumed to be the stub: no other program can run here."""
        if not stay:
            self._later = self._start_stub if any(entry in each for each in self._loaded) else self._crash

    def flash_begin(self, size: int, blocks: int, block_size: int, offset: int) -> None:
        self._begin(offset, size, size if self._is_stub else blocks * block_size, deflated=False)

    def deflate_begin(self, size: int, _blocks: int, _block_size: int, offset: int) -> None:
        self._begin(offset, size, size, deflated=True)

    def flash_data(self, data: bytes) -> None:
        self._receive_data(data, deflated=False)

    def deflate_data(self, data: bytes) -> None:
        self._receive_data(data, deflated=True)

    def flash_end(self, stay: int) -> None:
        """End a write, and leave the loader: the stub unless `stay` is set, the ROM in any case.

        The ROM with `stay` set runs the program in the flash, and resets the chip without it.
        """
        write, self._write = self._write, None
        if not self._is_stub:
            self._later = lambda: self._leave(Exit.RUN if stay else Exit.RESET)
            return
        if not write:
            raise CommandRefused(Reason.NO_SESSION)
        if write.failed:
            raise CommandRefused(write.failed)
        if write.at < write.end:
            raise CommandRefused(Reason.TOO_LITTLE)
        if not stay:
            self._later = lambda: self._leave(Exit.RESET)

    def run(self) -> None:
        self.exit = Exit.RUN

    def md5(self, offset: int, size: int, _: int, __: int) -> tuple[int, bytes]:
        self._check(offset, size)
        digest = self._flash.md5(offset, size)
        return 0, digest if self._is_stub else digest.hex().encode()

    def read_slowly(self, offset: int, size: int) -> tuple[int, bytes]:
        self._check(offset, size)
        if size > _SLOW_READ:
            raise CommandRefused(Reason.LENGTH)
        return 0, self._flash.read(offset, size).ljust(_SLOW_READ, b"\0")

    def read(self, offset: int, size: int, block: int, in_flight: int) -> None:
        self._check(offset, size)
        if not 0 < block <= _LONGEST_BLOCK or not in_flight:
            raise CommandRefused(Reason.BLOCK_SIZE)
        read = self._read = _Read(offset, size, block, in_flight)
        self._later = lambda: self._blocks(read)

    def erase_all(self) -> None:
        self._flash.erase(0, self._flash.size)

    def erase(self, offset: int, size: int) -> None:
        self._check(offset, size)
        if offset % SECTOR or size % SECTOR:
            raise CommandRefused(Reason.BLOCK_SIZE)
        self._flash.erase(offset, size)

    def _check(self, offset: int, size: int) -> None:
        if offset + size > self._flash.size:
            raise CommandRefused(Reason.FLASH)

    def _begin(self, offset: int, erase: int, size: int, *, deflated: bool) -> None:
        self._check(offset, max(erase, size))
        self._write = _Write(offset, size, deflated=deflated)
        if not self._is_stub:  # which erases as it writes
            self._flash.erase(offset, erase)
            self._write.erased = self._flash.size

    def _receive_data(self, data: bytes, *, deflated: bool) -> None:
        write = self._write
        if not write or (write.inflate is not None) != deflated:
            raise CommandRefused(Reason.NO_SESSION)
        if write.failed:
            raise CommandRefused(write.failed)
        if self._is_stub:
            self._later = lambda: self._put_later(write, data)
        else:
            self._put(write, data)

    def _put_later(self, write: _Write, data: bytes) -> Iterable[bytes]:
        try:
            self._put(write, data)
        except CommandRefused as refused:
            write.failed = refused.reason
        return ()

    def _put(self, write: _Write, data: bytes) -> None:
        plain = write.plain(data)
        while write.erased < write.at + len(plain):
            # in blocks of 64 KiB where possible: faster, and more of the old content ahead is gone if it is cut off
            whole = write.erased % BLOCK == 0 and write.end - write.erased >= BLOCK
            self._flash.erase(write.erased, BLOCK if whole else SECTOR)
            write.erased += BLOCK if whole else SECTOR
        self._flash.program(write.at, plain)
        write.at += len(plain)

    def _go_on_reading(self, read: _Read, packet: bytes) -> Iterator[bytes]:
        if len(packet) != 4:
            self._read = None
            return
        read.acknowledged = int.from_bytes(packet, "little")
        yield from self._blocks(read)

    def _blocks(self, read: _Read) -> Iterator[bytes]:
        while read.sent < read.length and read.sent - read.acknowledged < read.in_flight:
            size = min(read.block, read.length - read.sent)
            yield slip.encode(self._flash.read(read.offset + read.sent, size))
            read.sent += size
        if read.acknowledged >= read.length:
            yield slip.encode(self._flash.md5(read.offset, read.length))
            self._read = None

    def _set_baud(self, baud: int) -> Iterable[bytes]:
        self.baud = baud
        return ()

    def _start_stub(self) -> Iterable[bytes]:
        self._is_stub = True
        return (slip.encode(_GREETING),)

    def _crash(self) -> Iterable[bytes]:
        return self._leave(Exit.RESET)

    def _leave(self, how: Exit) -> Iterable[bytes]:
        self.exit = how
        return ()


@dataclass(frozen=True)
class _Command:
    """A command: its function, and the number of 32-bit numbers before its data.

    Data behind numbers has its size in the first of them, and a checksum. `rom` and `stub`: True if that one has the
    command. `answers`: the number of times that the answer is sent.
    """

    does: Callable[..., tuple[int, bytes] | None]
    numbers: int = 0
    data: bool = False
    rom: bool = True
    stub: bool = True
    answers: int = 1


_COMMANDS = {
    0x02: _Command(RomLoader.flash_begin, 4),
    0x03: _Command(RomLoader.flash_data, 4, data=True),
    0x04: _Command(RomLoader.flash_end, 1),
    0x05: _Command(RomLoader.mem_begin, 4),
    0x06: _Command(RomLoader.mem_end, 2),
    0x07: _Command(RomLoader.mem_data, 4, data=True),
    0x08: _Command(RomLoader.sync, data=True, answers=8),
    0x09: _Command(RomLoader.write_registers, data=True),
    0x0A: _Command(RomLoader.read_register, 1),
    0x0B: _Command(RomLoader.accept, 6),  # SPI_SET_PARAMS
    0x0D: _Command(RomLoader.accept, 1),  # SPI_ATTACH
    0x0E: _Command(RomLoader.read_slowly, 2, stub=False),
    0x0F: _Command(RomLoader.change_baud, 2),
    0x10: _Command(RomLoader.deflate_begin, 4),
    0x11: _Command(RomLoader.deflate_data, 4, data=True),
    0x12: _Command(RomLoader.flash_end, 1),
    0x13: _Command(RomLoader.md5, 4),
    0x14: _Command(RomLoader.security_info),
    0xD0: _Command(RomLoader.erase_all, rom=False),
    0xD1: _Command(RomLoader.erase, 2, rom=False),
    0xD2: _Command(RomLoader.read, 4, rom=False),
    0xD3: _Command(RomLoader.run, rom=False),
}
