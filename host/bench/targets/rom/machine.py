"""The part of the ESP32's `machine` that the unix port lacks; shadows the built-in module."""

import binascii

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
