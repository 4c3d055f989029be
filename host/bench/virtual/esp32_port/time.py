"""The ESP32's `time`, which counts from 2000 by the board's clock, in 32 bits; shadows the built-in module."""

import utime
from utime import *

_EPOCH = 946684800
# The difference of the board's seconds since 2000 and the host's since 1970.
_offset = 0
_nap_ms, _nap = 0, 0.0


def _host():
    return int(utime.time())  # a float there, whole seconds here


def attach(options):
    """Start the clock at 2000-01-01, as after power-on, unless the clock was set before a reset."""
    global _offset
    clock = options["clock"]
    _offset = -_host() if clock is None else clock


def set_clock(seconds):
    """Set the clock to seconds since 2000; return the offset to keep across a reset."""
    global _offset
    _offset = seconds - _host()
    return _offset


def sleep_ms(ms):
    """Sleep through, as the chip does: the unix port's own wakes up a thousand times a second, 5 % of a CPU.

    As there, sleeping as long as the last time allocates nothing.
    """
    global _nap_ms, _nap
    if ms != _nap_ms:
        _nap_ms, _nap = ms, max(ms, 0) / 1000
    utime.sleep(_nap)


def time():
    """Return the whole seconds since 2000 by the board's clock."""
    return (_host() + _offset + 0x80000000) % 0x100000000 - 0x80000000


def time_ns():
    """Return the nanoseconds since 2000 by the board's clock."""
    return utime.time_ns() + _offset * 1000000000


def gmtime(seconds=None):
    """Return the date and time of seconds since 2000; of now by default."""
    if seconds is None:
        seconds = time()
    elif not -0x80000000 <= seconds < 0x80000000:
        raise OverflowError("overflow converting long int to machine word")
    return utime.gmtime(seconds + _EPOCH)


localtime = gmtime


def mktime(parts):
    """Return the seconds since 2000 of a date and time."""
    # both in the host's time zone, which cancels out
    return utime.mktime(parts) - utime.mktime((2000, 1, 1, 0, 0, 0, 0, 0))
