"""Standard input, forwarded line by line to a board's serial line."""

import os
import signal
import stat
import threading
from collections.abc import Callable

from bench.cli.render import tables
from bench.errors import BenchError

_STDIN = 0


def is_available() -> bool:
    """Return whether standard input is a terminal or a pipe."""
    try:
        return os.isatty(_STDIN) or stat.S_ISFIFO(os.fstat(_STDIN).st_mode)
    except OSError:  # closed
        return False


def forward(send: Callable[[str], None]) -> threading.Thread:
    """Forward every line of standard input to a board.

    Args:
        send: Sends one line to the board. A BenchError is shown, and the next line is tried.

    Returns:
        The thread that forwards; it ends with the input.
    """
    # in the background a terminal's input is an error then, instead of what stops the whole program
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    thread = threading.Thread(target=_forward, args=(send,), daemon=True)
    thread.start()
    return thread


def _forward(send: Callable[[str], None]) -> None:
    rest = b""
    while piece := _read():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            _send(send, line)
    if rest:
        _send(send, rest)


def _send(send: Callable[[str], None], line: bytes) -> None:
    try:
        send(line.decode(errors="surrogateescape"))
    except BenchError as error:  # the next line may come through
        tables.fail(str(error))


def _read() -> bytes:
    try:
        return os.read(_STDIN, 4096)  # not sys.stdin: its lock would be held at the end of the program
    except OSError:  # closed, or in the background
        return b""
