"""What only the silicon knows: reset cause, MAC, heap, watchdog, reset. Found by feature test."""

import binascii
import gc
import sys
import time

import machine

_RESET_CAUSES = ("PWRON_RESET", "HARD_RESET", "WDT_RESET", "DEEPSLEEP_RESET", "SOFT_RESET")
# Longest wait between two feeds of the watchdog.
NAP_MS = 500

_watchdog = None


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


def start_watchdog(seconds: int) -> None:
    """Arm the watchdog, if there is one and `seconds` is not 0. It cannot be stopped again."""
    global _watchdog
    if seconds and hasattr(machine, "WDT"):
        _watchdog = machine.WDT(timeout=seconds * 1000)


def feed() -> None:
    """Tell the watchdog that something got done."""
    if _watchdog:
        _watchdog.feed()


def sleep(ms: int) -> None:
    """A wait that is meant: feeds the watchdog meanwhile."""
    while ms > 0:
        feed()
        time.sleep_ms(min(ms, NAP_MS))
        ms -= NAP_MS


def reset() -> None:
    """Start the board again, as at power-on. Leaves the program where there is no reset."""
    if hasattr(machine, "reset"):
        machine.reset()
    raise SystemExit
