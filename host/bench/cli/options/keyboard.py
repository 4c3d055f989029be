"""What is typed into this terminal goes to a board's serial line."""

import os
import signal
import stat
import threading
from collections.abc import Callable

from bench.cli.render import tables
from bench.errors import BenchError

_STDIN = 0


def is_there() -> bool:
    """Whether somebody may type: standard input is a terminal or a pipe."""
    try:
        return os.isatty(_STDIN) or stat.S_ISFIFO(os.fstat(_STDIN).st_mode)
    except OSError:  # closed
        return False


def forward(say: Callable[[str], None]) -> threading.Thread:
    """`say` every line of standard input to a board; the thread that does it ends with the input."""
    # in the background a terminal's input is an error then, instead of what stops the whole program
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    thread = threading.Thread(target=_forward, args=(say,), daemon=True)
    thread.start()
    return thread


def _forward(say: Callable[[str], None]) -> None:
    rest = b""
    while piece := _read():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            _say(say, line)
    if rest:
        _say(say, rest)


def _say(say: Callable[[str], None], line: bytes) -> None:
    try:
        say(line.decode(errors="surrogateescape"))
    except BenchError as error:  # the next line may come through
        tables.fail(str(error))


def _read() -> bytes:
    try:
        return os.read(_STDIN, 4096)  # not sys.stdin: its lock would be held at the end of the program
    except OSError:  # closed, or in the background
        return b""
