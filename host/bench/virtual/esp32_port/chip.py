"""The silicon of a virtual board: flash, power, reset. Runs on MicroPython's unix port.

    micropython chip.py OPTIONS.json

Options:

- `flash`: the image file; `bootloader`: the offset in it where the chip starts.
- `trace`: a file that gets one JSON line per flash write, per reset, per change of a pin, ...
- `mac`: 12 hex digits; `reset_cause`: the name of `machine`'s constant.
- `machine`: the board's name in the REPL's banner; `raw`: whether the REPL starts in raw mode, where
  `/main.py` does not run.
- `is_chip_heap`: whether the heap stands for a chip's, see esp32.py.
- `pins`: the levels of the inputs, see machine.py.
- `wifi` and `ethernet`: the access points and the cable, see network.py.
- `clock`: the clock's offset from before a reset, null if there is none, see time.py.
- `boot_ms`: the milliseconds of ROM and bootloader, in which what is typed is lost.
- `cut`: `{"at": n, "torn": bool}` cuts the power at the n-th write to the flash (an erase or a program
  operation, counted from 0): before it, or in the middle of it.
- `wear`: `{"after": n, "blocks": [...]}`: writes from the n-th on fail (null: none for that reason), and
  those to these blocks of the partition.

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
_ERASED = b"\xff" * _BLOCK  # once: erasing a block must not cost the program's heap


class Power:
    """The power of the chip: `off()` ends this process as a power cut does, at once, without a handler running."""

    def __init__(self, trace):
        self._trace = open(trace, "a") if trace else None

    def trace(self, **fields):
        """Write one JSON line for the bench, if it reads a trace."""
        if self._trace:
            self._trace.write(json.dumps(fields) + "\n")

    def off(self):
        """Kill this process. Never returns."""
        os.system("kill -9 $PPID")
        while True:  # the signal is on its way
            pass


class Flash:
    """A partition of the image as a block device for VfsLfs2, with the physics of NOR flash.

    The interface is MicroPython's `vfs.AbstractBlockDev`, extended form.
    """

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
    """Yield kind (type and subtype), label, offset and size of each entry of the partition table (ESP-IDF's format)."""
    for at in range(_TABLE, _TABLE + _TABLE_SIZE, _ENTRY):
        file.seek(at)
        entry = file.read(_ENTRY)
        if entry[:2] != b"\xaa\x50":
            return
        offset, size = int.from_bytes(entry[4:8], "little"), int.from_bytes(entry[8:12], "little")
        yield entry[2:4], entry[12:28].rstrip(b"\0"), offset, size


def begins_program(file, offset):
    """Return whether an ESP32 program image begins at `offset`."""
    file.seek(offset)
    return file.read(1) == b"\xe9"


def boot(ms, power):
    """Take the time of ROM and bootloader; setting up the UART then loses what was typed meanwhile."""
    import select
    import utime

    utime.sleep(ms / 1000)
    typed = select.poll()
    typed.register(sys.stdin, select.POLLIN)
    while typed.poll(0):
        sys.stdin.buffer.read(1)
    power.trace(listens=True)


def start(options, power):
    """Boot as chip, bootloader and image do, and mount the flash's file system, if any, instead of the host's."""
    image = open(options["flash"], "r+b")
    table = list(partitions(image))
    if not begins_program(image, options["bootloader"]):
        import boot_failures

        boot_failures.no_bootloader(image, options["bootloader"])
    if not table:
        import boot_failures

        boot_failures.no_table()
    if not any(kind[0] == 0 and begins_program(image, offset) for kind, _, offset, _ in table):
        import boot_failures

        boot_failures.no_program()
    # Frozen into a stock ESP32 image; here from the ROM directory, while it can still be reached.
    import esp
    import esp32
    import machine
    import network
    import time
    import umqtt.simple

    esp.attach(image)
    esp32.attach(options)
    machine.attach(power, options)
    network.attach(power, options)
    time.attach(options)
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
    """Let Ctrl-C interrupt the program from now on, and trace that."""
    power.trace(interruptible=True)
    micropython.kbd_intr(3)


def mount(flash, power):
    """Return the file system, with the geometry of the stock image's _boot.py; None if a person interrupted that."""
    try:
        return vfs.VfsLfs2(flash, readsize=32, progsize=32, lookahead=32)
    except OSError:
        import boot_failures

        allow_interrupts(power)
        try:
            return boot_failures.no_file_system(flash)
        except KeyboardInterrupt:
            return None


def run(path, names):
    """Run a file in these globals, if it is there."""
    try:
        with open(path) as file:
            program = compile(file.read(), path, "exec")
    except OSError:
        return
    gc.collect()  # the program finds the heap as the silicon leaves it: without the garbage of booting
    exec(program, names)


def load_repl(rom):
    """Return the module `repl` from the ROM, loaded only now: no program has to spare the heap for it."""
    gc.collect()
    vfs.mount(rom, "/rom")
    sys.path.insert(0, "/rom")
    import repl

    sys.path.pop(0)
    vfs.umount("/rom")
    return repl


def main(options, power, rom):
    """Run boot.py and main.py, then the REPL until a soft reset, as the stock image's main.c does."""
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
if options["boot_ms"]:
    boot(options["boot_ms"], power)
start(options, power)
del boot, start, mount, partitions, begins_program
main(options, power, rom)
