"""The silicon of a virtual board: flash, power, reset. Runs on MicroPython's unix port.

    micropython chip.py OPTIONS.json

Options: `flash` (the image file), `bootloader` (where in it the chip starts), `trace` (a file that gets
one JSON line per flash write, per reset, per change of a pin, ...), `mac` (12 hex digits), `reset_cause`,
`machine` (what the REPL's banner calls the board), `raw` (whether the REPL is in raw mode, where `/main.py`
does not run), `pins` (the levels of the inputs, see machine.py), `wifi` and `ethernet` (what is in the air
and on the cable, see network.py), `clock` (what the clock remembers from before a reset, null if nothing,
see time.py) and `cut`: `{"at": n, "torn": bool}` cuts the power at the n-th write to the flash (an erase or
a program operation, counted from 0): before it, or in the middle of it. `wear`: `{"after": n, "blocks": [...]}`:
writes from the n-th on fail (null: none for that), and those to these blocks of the partition.

After the file system of the flash is mounted at `/` the program sees nothing of the host but
sockets, as on the ESP32.
"""

import gc
import json
import micropython
import os
import sys
import vfs

_BLOCK = 4096
_TABLE = 0x8000
_TABLE_SIZE = 0xC00
_ENTRY = 32
_ERASED = b"\xff" * _BLOCK  # once: the silicon needs no heap of the program's to erase a block


class Power:
    """Ends the life of this process as a power cut does: at once, without a handler running."""

    def __init__(self, trace):
        self._trace = open(trace, "a") if trace else None

    def trace(self, **fields):
        if self._trace:
            self._trace.write(json.dumps(fields) + "\n")

    def off(self):
        os.system("kill -9 $PPID")
        while True:  # the signal is on its way
            pass


class Flash:
    """A partition of the image as the block device that VfsLfs2 wants, with the physics of NOR flash."""

    def __init__(self, file, offset, size, power, cut, wear):
        self._file = file
        self._offset = offset
        self._blocks = size // _BLOCK
        self._power = power
        self._cut = cut
        self._wear = wear
        self._writes = 0

    def readblocks(self, block, buffer, offset=0):
        self._file.seek(self._offset + block * _BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        self._write("program", block, offset, buffer)

    def ioctl(self, operation, argument):
        if operation == 4:
            return self._blocks
        if operation == 5:
            return _BLOCK
        if operation == 6:
            self._write("erase", argument, 0, _ERASED)
            return 0

    def _write(self, kind, block, offset, data):
        cut = self._cut and self._writes == self._cut["at"]
        self._power.trace(write=self._writes, kind=kind, block=block, bytes=len(data), cut=bool(cut))
        self._writes += 1
        if cut:
            if self._cut["torn"]:
                self._put(kind, block, offset, bytes(data)[: len(data) // 2])
            self._power.off()
        if self._wear and self._is_worn(block):
            raise OSError(5)
        self._put(kind, block, offset, data)

    def _is_worn(self, block):
        after = self._wear["after"]
        return (after is not None and self._writes > after) or block in self._wear["blocks"]

    def _put(self, kind, block, offset, data):
        at = self._offset + block * _BLOCK + offset
        self._file.seek(at)
        if kind == "program":
            old = self._file.read(len(data))
            if old != b"\xff" * len(data):
                # programming clears bits and never sets one
                both = int.from_bytes(old, "big") & int.from_bytes(data, "big")
                data = both.to_bytes(len(old), "big")
            self._file.seek(at)
        self._file.write(data)


def partitions(file):
    """Kind (type and subtype), label, offset and size of what is in the flash's table (ESP-IDF's format)."""
    for at in range(_TABLE, _TABLE + _TABLE_SIZE, _ENTRY):
        file.seek(at)
        entry = file.read(_ENTRY)
        if entry[:2] != b"\xaa\x50":
            return
        offset, size = int.from_bytes(entry[4:8], "little"), int.from_bytes(entry[8:12], "little")
        yield entry[2:4], entry[12:28].rstrip(b"\0"), offset, size


def begins_program(file, offset):
    file.seek(offset)
    return file.read(1) == b"\xe9"


def start(options, power):
    """Go the way to MicroPython, and mount the flash's file system instead of the host's, if there is one."""
    image = open(options["flash"], "r+b")
    table = list(partitions(image))
    if not begins_program(image, options["bootloader"]):
        import refusal

        refusal.no_bootloader(image, options["bootloader"])
    if not table:
        import refusal

        refusal.no_table()
    if not any(kind[0] == 0 and begins_program(image, offset) for kind, _, offset, _ in table):
        import refusal

        refusal.no_program()
    # Frozen into a stock ESP32 image; here from the ROM directory, while it can still be reached.
    import esp
    import machine
    import network
    import time
    import umqtt.simple

    esp.plug_in(image)
    machine.plug_in(power, options)
    network.plug_in(power, options)
    time.plug_in(options)
    mounted = None
    for _, label, offset, size in table:
        if label == b"vfs":
            mounted = mount(Flash(image, offset, size, power, options.get("cut"), options.get("wear")), power)
    vfs.umount("/")
    if mounted:
        vfs.mount(mounted, "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]


def allow_interrupts(power):
    power.trace(interruptible=True)
    micropython.kbd_intr(3)


def mount(flash, power):
    """The file system, with the geometry of the stock image's _boot.py; None if a person stopped that."""
    try:
        return vfs.VfsLfs2(flash, readsize=32, progsize=32, lookahead=32)
    except OSError:
        import refusal

        allow_interrupts(power)
        try:
            return refusal.no_file_system(flash)
        except KeyboardInterrupt:
            return None


def run(path, names):
    try:
        with open(path) as file:
            program = compile(file.read(), path, "exec")
    except OSError:
        return
    gc.collect()  # the program finds the heap as the silicon would leave it: without what was needed to get here
    exec(program, names)


def load_repl(rom):
    """The module `repl` out of the ROM, which no program needs the heap for."""
    gc.collect()
    vfs.mount(rom, "/rom")
    sys.path.insert(0, "/rom")
    import repl

    sys.path.pop(0)
    vfs.umount("/rom")
    return repl


def main(options, power, rom):
    """What the stock image's main.c does: boot.py and main.py, then the REPL until a soft reset."""
    names = {"__name__": "__main__"}
    failure = None
    try:
        allow_interrupts(power)
        run("boot.py", names)
        if not options["raw"]:
            run("main.py", names)
    except BaseException as error:
        failure = error
    repl = load_repl(rom)
    if failure and not isinstance(failure, SystemExit):
        repl.show(failure)
    repl = repl.Repl(power, options["machine"], names, options["raw"])
    if isinstance(failure, SystemExit):
        repl.reboot()
    repl.run()


with open(sys.argv[1]) as file:
    options = json.load(file)
power = Power(options.get("trace"))
rom = vfs.VfsPosix(os.getcwd())
start(options, power)
del start, mount, partitions, begins_program
main(options, power, rom)
