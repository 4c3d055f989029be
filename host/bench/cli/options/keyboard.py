"""Standard input: questions, secrets, and lines for a board."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import typer

from bench.cli.options import text_files
from bench.cli.render import tables
from bench.errors import BenchError, UsageError
from bench.text import printable

_STDIN = 0


def confirm(question: str, otherwise: str, *, may_skip: bool = False) -> None:
    """Have the user confirm what cannot be undone.

    Args:
        question: The question.
        otherwise: The error if they do not, e.g. `nothing was erased`.
        may_skip: Without a terminal, go on as if it was confirmed.

    Raises:
        UsageError: There is no terminal.
        BenchError: The user says no.
    """
    if not sys.stdin.isatty():
        if may_skip:
            return
        raise UsageError(f"{question} There is no terminal for a prompt: confirm with --yes")
    if not typer.confirm(printable(question), err=True):
        raise BenchError(otherwise)


def new_password(of: str, file: Path | None) -> str:
    """Return a new password, from a file, or typed twice.

    Args:
        of: The account, for the prompt.
        file: The file.

    Raises:
        UsageError: There is neither a file nor a terminal.
    """
    if file:
        return text_files.read_value(file)
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal for a prompt: name a file with --new-password-file")
    return str(typer.prompt(f"New password of {printable(of)}", hide_input=True, confirmation_prompt=True, err=True))


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
