"""The chip's memory as READ_REG and WRITE_REG reach it, with the SPI controller that talks to the flash chip."""

import struct

from bench.virtual.rom_loader.chips import Chip

_CRYSTAL_HZ = 40_000_000
_START = 1 << 18  # in the SPI command register: a command of the user's own
_ADDRESS_BITS = 24
_WRITABLE = 0xFFFFFFFF

# The commands of the flash chip (JEDEC), and its manufacturer's id: Winbond.
_READ_ID, _READ_SFDP = 0x9F, 0x5A
_READ_STATUS = {0x05: 0, 0x35: 1, 0x15: 2}
_WRITE_STATUS = {0x01: 0, 0x31: 1, 0x11: 2}
_MAKER, _TYPE = 0xEF, 0x40


class Registers:
    """All words of the memory; those never written are 0, except for the content of the chip's ROM and eFuses."""

    def __init__(self, chip: Chip, mac: str, flash_size: int) -> None:
        """Make the memory of a chip after a reset.

        Args:
            chip: The chip.
            mac: Its MAC, 12 hex digits.
            flash_size: The size of the flash in bytes, a power of two.
        """
        self._chip = chip
        self._words = chip.words(mac)
        self._flash_size = flash_size
        self._status = [0, 2, 0]  # quad enable is on, as in modules
        self._sfdp = _sfdp(flash_size)

    def read(self, address: int, baud: int) -> int:
        """Return a word.

        Args:
            address: The word's address.
            baud: The present rate of the line in bits/s, which the UART's divider follows.
        """
        if address == self._chip.uart_divider:
            return _CRYSTAL_HZ // baud
        return self._words.get(address, 0)

    def write(self, address: int, value: int, mask: int = _WRITABLE) -> None:
        """Set the bits of `mask` in a word.

        Args:
            address: The word's address. A write to the SPI command register runs the command.
            value: The new bits.
            mask: The bits to set; the others stay.
        """
        if address == self._chip.spi:  # clears itself when the command is done, which is at once
            if value & mask & _START:
                self._run()
            return
        self._words[address] = self._words.get(address, 0) & ~mask | value & mask

    def _run(self) -> None:
        """Have the flash chip carry out the command that the SPI registers describe."""
        data = self._chip.spi + self._chip.spi_data
        command = self._words.get(self._chip.spi + self._chip.spi_user + 8, 0) & 0xFF
        address = self._words.get(self._chip.spi + 4, 0)
        if self._chip.address_left:
            address >>= 32 - _ADDRESS_BITS
        if command == _READ_ID:
            size = self._flash_size.bit_length() - 1
            self._words[data] = _MAKER | _TYPE << 8 | size << 16
        elif command == _READ_SFDP:
            self._words[data] = int.from_bytes(self._sfdp[address : address + 4].ljust(4, b"\xff"), "little")
        elif command in _READ_STATUS:
            self._words[data] = self._status[_READ_STATUS[command]]
        elif command in _WRITE_STATUS:
            self._status[_WRITE_STATUS[command]] = self._words.get(data, 0) & 0xFF


def _sfdp(flash_size: int) -> bytes:
    """Return the flash chip's parameters (JESD216): a header, and one table with 4 KiB sectors and the size."""
    header = b"SFDP" + bytes([6, 1, 0, 0xFF])
    table_header = bytes([0, 6, 1, 9]) + (16).to_bytes(3, "little") + b"\xff"
    table = struct.pack("<9I", 0xFFF120E5, flash_size * 8 - 1, *[0xFFFFFFFF] * 7)
    return header + table_header + table
