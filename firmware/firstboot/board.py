"""What only the silicon knows: reset cause, MAC, heap, watchdog, reset. Found by feature test."""

import binascii
import gc
import sys
import time

import machine

_RESET_CAUSES = ("PWRON_RESET", "HARD_RESET", "WDT_RESET", "DEEPSLEEP_RESET", "SOFT_RESET")
# Seconds from 1970 to where this board counts from: 2000 on the ESP32, 1970 on the unix port.
EPOCH = 946684800 if time.gmtime(0)[0] == 2000 else 0
# Nothing that is flashed today lives longer than thirty years, seconds.
LIFE_S = 30 * 365 * 86400
# Longest wait between two feeds of the watchdog; shorter when something wants to be called more often.
nap_ms = 500

_watchdog = None
_on_idle: list[object] = []


def reset_cause() -> str:
    """`power_on`, `hard`, `wdt`, `deepsleep`, `soft`, or `unknown`."""
    if hasattr(machine, "reset_cause"):
        cause = machine.reset_cause()
        for name in _RESET_CAUSES:
            if getattr(machine, name, None) == cause:
                return "power_on" if name == "PWRON_RESET" else name[:-6].lower()
    return "unknown"


def mac() -> str:
    """The MAC burnt into the chip, which is the station's, as 12 hex digits; zeros where there is none.

    From the chip and not from the radio: that would have to be on.
    """
    if hasattr(machine, "unique_id"):
        return binascii.hexlify(machine.unique_id()).decode()
    return "000000000000"


def free_heap() -> int:
    """Free bytes on the MicroPython heap after a collection."""
    gc.collect()
    return gc.mem_free()


def version() -> str:
    """MicroPython's version, e.g. `1.24.0`."""
    return ".".join(str(part) for part in sys.implementation.version[:3])


def unix_time() -> int:
    """Seconds since 1970, as far as the board's clock knows."""
    return int(time.time()) + EPOCH


def start_watchdog(seconds: int) -> None:
    """Arm the watchdog, if there is one and `seconds` is not 0. It cannot be stopped again."""
    global _watchdog
    if seconds and hasattr(machine, "WDT"):
        _watchdog = machine.WDT(timeout=seconds * 1000)


def feed() -> None:
    """Tell the watchdog that something got done."""
    if _watchdog:
        _watchdog.feed()


def on_idle(callback: object, every_ms: int) -> None:
    """Have `callback()` called during every wait, at least each `every_ms`. It must not wait, nor allocate."""
    global nap_ms
    _on_idle.append(callback)
    nap_ms = min(nap_ms, every_ms)


def idle() -> None:
    """Part of every wait that is meant and bounded: feeds the watchdog, and calls what wanted to be called."""
    feed()
    for callback in _on_idle:
        callback()  # type: ignore[operator]


def sleep(ms: int) -> None:
    """A wait that is meant. Late by what the callbacks take, at most a nap each."""
    end = time.ticks_add(time.ticks_ms(), ms)
    while True:
        idle()
        left = time.ticks_diff(end, time.ticks_ms())
        if left <= 0:
            return
        time.sleep_ms(min(left, nap_ms))


def reset() -> None:
    """Start the board again, as at power-on. Leaves the program where there is no reset."""
    if hasattr(machine, "reset"):
        machine.reset()
    raise SystemExit
