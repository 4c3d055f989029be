"""The silicon: reset cause, MAC, watchdog, reset. Found by feature test."""

import binascii
import sys
import time

import machine

_RESET_CAUSES = ("PWRON_RESET", "HARD_RESET", "WDT_RESET", "DEEPSLEEP_RESET", "SOFT_RESET")
# Seconds from 1970 to this board's epoch: 2000 on the ESP32, 1970 on the unix port.
EPOCH = 946684800 if time.gmtime(0)[0] == 2000 else 0
# Seconds that a board is assumed to last: thirty years.
LIFE_S = 30 * 365 * 86400
# The longest sleep between two feeds of the watchdog; shorter when a callback has to be called more often.
nap_ms = 500

_watchdog = None
_on_idle: list[object] = []


def reset_cause() -> str:
    """Return `power_on`, `hard`, `wdt`, `deepsleep`, `soft`, or `unknown`."""
    if hasattr(machine, "reset_cause"):
        cause = machine.reset_cause()
        for name in _RESET_CAUSES:
            if getattr(machine, name, None) == cause:
                return "power_on" if name == "PWRON_RESET" else name[:-6].lower()
    return "unknown"


def mac() -> str:
    """Return the MAC burnt into the chip, which is the station's, as 12 hex digits; zeros where there is none.

    It is read from the chip and not from the radio, which would have to be on.
    """
    if hasattr(machine, "unique_id"):
        return binascii.hexlify(machine.unique_id()).decode()
    return "000000000000"


def version() -> str:
    """Return MicroPython's version, e.g. `1.24.0`."""
    return ".".join(str(part) for part in sys.implementation.version[:3])


def unix_time() -> int:
    """Return the seconds since 1970 by the board's clock, which may be wrong."""
    return int(time.time()) + EPOCH


def start_watchdog(seconds: int) -> None:
    """Arm the watchdog, if there is one and `seconds` is not 0. It cannot be stopped again."""
    global _watchdog
    if seconds and hasattr(machine, "WDT"):
        _watchdog = machine.WDT(timeout=seconds * 1000)


def feed() -> None:
    """Feed the watchdog."""
    if _watchdog:
        _watchdog.feed()


def on_idle(callback: object, every_ms: int) -> None:
    """Have `callback()` called during every wait, at least each `every_ms`. It must neither wait nor allocate."""
    global nap_ms
    _on_idle.append(callback)
    nap_ms = min(nap_ms, every_ms)


def idle() -> None:
    """Feed the watchdog and call the callbacks: part of every wait that is meant and bounded."""
    feed()
    for callback in _on_idle:
        callback()  # type: ignore[operator]


def sleep(ms: int) -> None:
    """Wait `ms`, feeding the watchdog. The end is late by at most the time that the callbacks need."""
    end = time.ticks_add(time.ticks_ms(), ms)
    while True:
        idle()
        left = time.ticks_diff(end, time.ticks_ms())
        if left <= 0:
            return
        time.sleep_ms(min(left, nap_ms))


def reset() -> None:
    """Restart the board, as at power-on; raise SystemExit where there is no reset."""
    if hasattr(machine, "reset"):
        machine.reset()
    raise SystemExit
