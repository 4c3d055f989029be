"""Differences between the chips of the ESP32 family, as far as a loader shows them.

From Espressif's technical reference manuals (eFuse controller, SPI controller, UART) and the output of the ROMs.
"""

import struct
from dataclasses import dataclass, field

from bench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip; all numbers are addresses in its memory unless the name says otherwise."""

    name: str
    rom: str  # the text that the ROM prints first
    download_boot: str  # the ROM's name for the mode in which the loader runs
    flash_boot: str  # ... and for that in which the program in the flash runs
    software_reset: str  # the ROM's name for a reset by the program, or by its watchdog
    loads: str  # what the ROM prints of the bootloader
    magic: int  # the word of its ROM at MAGIC_ADDRESS
    security_info: bool = True  # True if the ROM has the command GET_SECURITY_INFO
    chip_id: int | None = None  # in the security info; None: it is missing there
    mac: int  # the eFuse word with the MAC's lower four bytes; the word after it has the upper two
    mac_extension: int = 0  # the value of the upper half of that word
    fuses: dict[int, int] = field(default_factory=dict)  # other words: package, revision, calibration
    spi: int
    spi_user: int = 0x18  # offset of the first of three user registers
    spi_data: int = 0x58  # offset of the first data word
    address_left: bool = False  # the SPI address register holds its bits at its upper end
    uart_divider: int

    def banner(self) -> bytes:
        """Return the text that the chip prints when it enters its loader."""
        return f"{self.rom}rst:0x1 (POWERON{self.download_boot}\r\nwaiting for download\r\n".encode()

    def boot_lines(self, *, is_power_on: bool) -> bytes:
        """Return the text that the chip prints until its program runs.

        Args:
            is_power_on: True after power-on and after a reset by EN; False after one by the program or its watchdog.
        """
        reset = f"0x1 (POWERON{self.flash_boot}" if is_power_on else f"0xc ({self.software_reset}{self.flash_boot}"
        return f"{self.rom}rst:{reset}\r\n{self.loads}".encode()

    def words(self, mac: str) -> dict[int, int]:
        """Return the words of the chip's memory that are not 0.

        Args:
            mac: 12 hex digits.

        Returns:
            Address -> 32-bit word.
        """
        upper, lower = struct.unpack(">HI", bytes.fromhex(mac))
        return {
            MAGIC_ADDRESS: self.magic,
            self.mac: lower,
            self.mac + 4: self.mac_extension << 16 | upper,
            **self.fuses,
        }


MAGIC_ADDRESS = 0x40001000

_ESP32_FUSES = 0x3FF5A000
_LOADS = "SPIWP:0xee\r\nmode:DIO, clock div:2\r\nload:0x403cc710,len:0x9a8\r\nentry 0x403cc710\r\n"
_ESP32_LOADS = (
    "configsip: 0, SPIWP:0xee\r\n"
    "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00\r\n"
    "mode:DIO, clock div:2\r\n"
    "load:0x3fff0030,len:4892\r\nload:0x40078000,len:14896\r\nload:0x40080400,len:4\r\n"
    "load:0x40080404,len:3372\r\nentry 0x400805b0\r\n"
)
_CHIPS = (
    Chip(
        name="esp32",
        rom="ets Jul 29 2019 12:21:46\r\n\r\n",
        download_boot="_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))",
        flash_boot="_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
        software_reset="SW_CPU",
        loads=_ESP32_LOADS,
        magic=0x00F01D83,
        security_info=False,
        mac=_ESP32_FUSES + 0x04,
        fuses={
            _ESP32_FUSES + 0x0C: 1 << 15 | 1 << 13 | 1 << 9,  # revision (bit 0), 240 MHz, package D0WD
            _ESP32_FUSES + 0x10: 17 << 8 | 128,  # ADC calibration, the 8 MHz clock as measured
            _ESP32_FUSES + 0x14: 1 << 20,  # revision (bit 1)
            0x3FF6607C: 1 << 31,  # APB_CTRL_DATE, revision (bit 2): v3
            0x3FF5F06C: 800 << 7,  # RTC calibration: with the clock above it gives 40 MHz for the crystal
        },
        spi=0x3FF42000,
        spi_user=0x1C,
        spi_data=0x80,
        address_left=True,
        uart_divider=0x3FF40014,
    ),
    Chip(
        name="esp32s2",
        rom="ESP-ROM:esp32s2-rc4-20191025\r\nBuild:Oct 25 2019\r\n",
        download_boot="),boot:0x0 (DOWNLOAD(USB/UART0/1))",
        flash_boot="),boot:0x8 (SPI_FAST_FLASH_BOOT)",
        software_reset="RTC_SW_CPU_RST",
        loads=_LOADS,
        magic=0x000007C6,
        mac=0x3F41A044,
        fuses={0x3F41A044 + 12: 1 << 18},  # v1.0
        spi=0x3F402000,
        uart_divider=0x3F400014,
    ),
    Chip(
        name="esp32s3",
        rom="ESP-ROM:esp32s3-20210327\r\nBuild:Mar 27 2021\r\n",
        download_boot="),boot:0x0 (DOWNLOAD(USB/UART0))",
        flash_boot="),boot:0x8 (SPI_FAST_FLASH_BOOT)",
        software_reset="RTC_SW_CPU_RST",
        loads=_LOADS,
        magic=0x00000009,
        chip_id=9,
        mac=0x60007044,
        fuses={0x60007044 + 12: 2 << 18},  # v0.2, package QFN56
        spi=0x60002000,
        uart_divider=0x60000014,
    ),
    Chip(
        name="esp32c3",
        rom="ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021\r\n",
        download_boot="),boot:0x4 (DOWNLOAD(USB/UART0/1))",
        flash_boot="),boot:0xc (SPI_FAST_FLASH_BOOT)",
        software_reset="RTC_SW_CPU_RST",
        loads=_LOADS,
        magic=0x4881606F,
        chip_id=5,
        mac=0x60008844,
        fuses={0x60008844 + 12: 4 << 18},  # v0.4, package QFN32
        spi=0x60002000,
        uart_divider=0x60000014,
    ),
    Chip(
        name="esp32c6",
        rom="ESP-ROM:esp32c6-20220919\r\nBuild:Sep 19 2022\r\n",
        download_boot="),boot:0x4 (DOWNLOAD(USB/UART0/SDIO_FEI_FEO))",
        flash_boot="),boot:0xc (SPI_FAST_FLASH_BOOT)",
        software_reset="SW_CPU",
        loads=_LOADS,
        magic=0x2CE0806F,
        chip_id=13,
        mac=0x600B0844,
        mac_extension=0xFFFE,
        fuses={0x600B0844 + 12: 1 << 18},  # v0.1, package QFN40
        spi=0x60003000,
        uart_divider=0x60000014,
    ),
)
CHIPS = {chip.name: chip for chip in _CHIPS}


def find(name: str) -> Chip:
    """Return the chip of this name, e.g. `esp32s3`.

    Raises:
        UsageError: There is no such chip.
    """
    if name not in CHIPS:
        raise UsageError(f"no chip {name}; there is: {', '.join(CHIPS)}")
    return CHIPS[name]
