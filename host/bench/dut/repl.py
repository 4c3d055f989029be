"""The raw REPL of boards under test: opening it, paths of files, and the clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.serial.raw_repl import RawRepl, ReplError

_REPL_S = 10.0
_EPOCH_2000 = 946684800  # where MicroPython's time begins on an ESP32, in seconds since 1970
_CLOCK = "import time,json\nprint(json.dumps([time.gmtime(0)[0],time.time()]))"
_SET_CLOCK = """
import time,machine,json
try:
 _y,_m,_d,_h,_i,_s,_w=time.gmtime({seconds})[:7]
 machine.RTC().datetime((_y,_m,_d,_w,_h,_i,_s,0))
 print(json.dumps(0<=time.time()-{seconds}<9))
except OverflowError:
 print('false')
"""
_LAST = (1 << 31) - 1  # of a 32-bit port, in seconds since its time began


@contextmanager
def repl_on(line: Any) -> Iterator[RawRepl]:
    """Open the raw REPL on an open line.

    Args:
        line: A serial port, or an object with as much of its interface as mpremote uses.

    Raises:
        ReplError: No MicroPython answers.
    """
    with RawRepl(line, timeout_s=_REPL_S) as repl:
        yield repl


def absolute(path: str) -> str:
    """Return the absolute path on the board for one with or without a leading slash."""
    return f"/{path.lstrip('/')}"


def clock(repl: RawRepl) -> int:
    """Return the time by the board's clock, in seconds since 1970. Raises ReplError."""
    epoch, seconds = repl.run_json(_CLOCK)
    return int(seconds) + _offset(epoch)


def set_clock(repl: RawRepl, seconds: int) -> None:
    """Set the board's clock, in seconds since 1970.

    Raises:
        ReplError: No MicroPython answers, or its clock cannot have that time: an ESP32's ends in 2068.
    """
    epoch, _ = repl.run_json(_CLOCK)
    if not repl.run_json(_SET_CLOCK.format(seconds=seconds - _offset(epoch))):
        raise ReplError(
            f"the board's clock cannot be set to {seconds} s since 1970: where time has 32 bits, the last is "
            f"{_LAST + _offset(epoch)}"
        )


def _offset(epoch: int) -> int:
    """Return the beginning of a board's time in seconds since 1970, given its year."""
    return _EPOCH_2000 if epoch == 2000 else 0
