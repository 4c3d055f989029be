"""The messages of chip, bootloader and image that cannot start a program, repeated as they reset over and over."""

import time
import vfs

_PAUSE_MS = 1000
_BLOCK = 4096
_BOOT_PY = "# This file is executed on every boot (including wake-boot from deepsleep)\n"


def repeat(*lines):
    """Print the lines for ever; only an interrupt ends that."""
    while True:
        for line in lines:
            print(line)
        time.sleep_ms(_PAUSE_MS)


def no_bootloader(image, offset):
    """Fail as the ROM does without a bootloader."""
    image.seek(offset)
    repeat("invalid header: 0x%08x" % int.from_bytes(image.read(4), "little"))


def no_table():
    """Fail as the bootloader does without a partition table."""
    repeat(
        "E (57) flash_parts: partition 0 invalid magic number 0xffff",
        "E (63) boot: Failed to verify partition table",
        "E (68) boot: load partition table error!",
    )


def no_program():
    """Fail as the bootloader does without a program."""
    repeat(
        "E (72) boot: Factory app partition is not bootable",
        "E (78) boot: No bootable app partitions in the partition table",
    )


def no_file_system(flash):
    """Format an erased partition and return its file system; a damaged one is left for a person (inisetup.py)."""
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
