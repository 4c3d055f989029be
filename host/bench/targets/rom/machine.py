"""The part of the ESP32's `machine` that the unix port lacks; shadows the built-in module."""

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


def plug_in(power, options):
    global _power, _cause, _mac
    _power = power
    _mac = binascii.unhexlify(options["mac"])
    _cause = globals()[options["reset_cause"]]


def reset():
    _power.trace(reset="HARD_RESET")
    _power.off()


def unique_id():
    return _mac


def reset_cause():
    return _cause


class WDT:
    """Bites from outside: whoever runs the board reads the trace and resets a board that stops feeding."""

    def __init__(self, id=0, timeout=5000):
        self._timeout = timeout
        self.feed()

    def feed(self):
        _power.trace(feed=self._timeout)


class RTC:
    """Goes on through a reset, and starts anew at power-on."""

    def datetime(self, value=None):
        if value is None:
            year, month, day, hour, minute, second, weekday = time.gmtime()[:7]
            return year, month, day, weekday, hour, minute, second, 0
        year, month, day, _, hour, minute, second, _ = value
        _power.trace(clock=time.set_clock(time.mktime((year, month, day, hour, minute, second, 0, 0))))
