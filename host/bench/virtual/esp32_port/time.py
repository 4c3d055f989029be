"""The ESP32's `time`, which counts from 2000 and goes by the board's clock; shadows the built-in module."""

import utime
from utime import *

_EPOCH = 946684800
# What has to be added to the host's seconds since 1970 for the board's since 2000.
_offset = 0
_nap_ms, _nap = 0, 0.0


def _host():
    return int(utime.time())  # a float there, whole seconds here


def plug_in(options):
    """Start at 2000-01-01, as after power-on, unless the clock was set before a reset."""
    global _offset
    clock = options["clock"]
    _offset = -_host() if clock is None else clock


def set_clock(seconds):
    """Set the clock to seconds since 2000; returns the offset to remember across a reset."""
    global _offset
    _offset = seconds - _host()
    return _offset


def sleep_ms(ms):
    """As the chip, asleep for all that time: the unix port's own wakes up a thousand times a second, 5 % of a CPU.

    As there, to sleep as long as the last time leaves nothing on the heap.
    """
    global _nap_ms, _nap
    if ms != _nap_ms:
        _nap_ms, _nap = ms, max(ms, 0) / 1000
    utime.sleep(_nap)


def time():
    return _host() + _offset


def time_ns():
    return utime.time_ns() + _offset * 1000000000


def gmtime(seconds=None):
    return utime.gmtime((time() if seconds is None else seconds) + _EPOCH)


localtime = gmtime


def mktime(parts):
    # of the host's time zone both, which so does not matter
    return utime.mktime(parts) - utime.mktime((2000, 1, 1, 0, 0, 0, 0, 0))
