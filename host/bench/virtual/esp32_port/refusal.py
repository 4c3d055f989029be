"""What chip, bootloader and image say instead of starting a program, again and again as they reset."""

import time
import vfs

_PAUSE_MS = 1000
_BLOCK = 4096
_BOOT_PY = "# This file is executed on every boot (including wake-boot from deepsleep)\n"


def repeat(*lines):
    """Never returns, unless by an interrupt."""
    while True:
        for line in lines:
            print(line)
        time.sleep_ms(_PAUSE_MS)


def no_bootloader(image, offset):
    image.seek(offset)
    repeat("invalid header: 0x%08x" % int.from_bytes(image.read(4), "little"))


def no_table():
    repeat(
        "E (57) flash_parts: partition 0 invalid magic number 0xffff",
        "E (63) boot: Failed to verify partition table",
        "E (68) boot: load partition table error!",
    )


def no_program():
    repeat(
        "E (72) boot: Factory app partition is not bootable",
        "E (78) boot: No bootable app partitions in the partition table",
    )


def no_file_system(flash):
    """As the stock image's inisetup.py: an erased partition is formatted, a damaged one is left for a person."""
    first = bytearray(_BLOCK)
    flash.readblocks(0, first)
    if any(byte != 0xFF for byte in first):
        repeat("The filesystem appears to be corrupted.")
    print("Performing initial setup")
    vfs.VfsLfs2.mkfs(flash, readsize=32, progsize=32, lookahead=32)
    fresh = vfs.VfsLfs2(flash, readsize=32, progsize=32, lookahead=32)
    with fresh.open("/boot.py", "w") as file:
        file.write(_BOOT_PY)
    return fresh
