"""The parts of the ESP32's `machine` that the unix port lacks; shadows the built-in module."""

import binascii
import time

from umachine import *

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_power = None
_cause = PWRON_RESET
_mac = b""
_levels = None
_level = bytearray(1)


def attach(power, options):
    """Use this power and these options (chip.py) as the silicon."""
    global _power, _cause, _mac, _levels
    _power = power
    _mac = binascii.unhexlify(options["mac"])
    _cause = globals()[options["reset_cause"]]
    if "pins" in options:
        _levels = open(options["pins"], "rb")


def reset():
    _power.trace(reset="HARD_RESET")
    _power.off()


def unique_id():
    return _mac


def reset_cause():
    return _cause


class WDT:
    """The watchdog, which bites from outside: the bench reads the trace and resets a board that stops feeding."""

    def __init__(self, id=0, timeout=5000):
        self._timeout = timeout
        self.feed()

    def feed(self):
        _power.trace(feed=self._timeout)


class RTC:
    """The clock, which keeps its time through a reset and starts anew at power-on."""

    def datetime(self, value=None):
        if value is None:
            year, month, day, hour, minute, second, weekday = time.gmtime()[:7]
            return year, month, day, weekday, hour, minute, second, 0
        year, month, day, _, hour, minute, second, _ = value
        _power.trace(clock=time.set_clock(time.mktime((year, month, day, hour, minute, second, 0, 0))))


class Pin:
    """A pin: inputs are bytes of a file, one a pin, that the bench writes at any time; outputs are traced."""

    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2

    _INPUTS = tuple(range(40))
    _OUTPUTS = tuple(range(34))

    def __init__(self, id, mode=-1, pull=-1, *, value=None):
        if id not in self._INPUTS:
            raise ValueError("invalid pin")
        if mode in (self.OUT, self.OPEN_DRAIN) and id not in self._OUTPUTS:
            raise ValueError("pin can only be input")
        self._id = id
        self._mode = mode
        self._out = None
        if value is not None:
            self.value(value)

    def value(self, level=None):
        if level is not None:
            if self._mode == self.OUT and self._out != bool(level):
                self._out = bool(level)
                if _power:
                    _power.trace(pin=self._id, level=int(self._out))
        elif self._mode == self.OUT:
            return int(self._out or 0)
        elif not _levels:
            return 1
        else:
            _levels.seek(self._id)
            _levels.readinto(_level)
            return _level[0]
