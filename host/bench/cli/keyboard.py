"""What is typed into this terminal goes to a board's serial line."""

import os
import signal
import stat
import threading

from bench.cli import output
from bench.errors import BenchError
from bench.targets.virtual import VirtualBoard

_STDIN = 0


def is_there() -> bool:
    """Whether somebody may type: standard input is a terminal or a pipe."""
    try:
        return os.isatty(_STDIN) or stat.S_ISFIFO(os.fstat(_STDIN).st_mode)
    except OSError:  # closed
        return False


def forward(board: VirtualBoard) -> threading.Thread:
    """Type every line of standard input on a board's serial line; the thread that does it ends with the input."""
    # in the background a terminal's input is an error then, instead of what stops the whole program
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    thread = threading.Thread(target=_forward, args=(board,), daemon=True)
    thread.start()
    return thread


def _forward(board: VirtualBoard) -> None:
    rest = b""
    while piece := _read():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            _say(board, line)
    if rest:
        _say(board, rest)


def _say(board: VirtualBoard, line: bytes) -> None:
    try:
        board.say(line.decode(errors="surrogateescape"))
    except BenchError as error:  # the next line may come through
        output.fail(str(error))


def _read() -> bytes:
    try:
        return os.read(_STDIN, 4096)  # not sys.stdin: its lock would be held at the end of the program
    except OSError:  # closed, or in the background
        return b""
