"""The command `bench`."""

import os
import signal

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


def main() -> None:
    """Run a command; an error is one line on standard error, with exit code 2 for wrong use and 1 for failure."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # not if a parent had it ignored
        signal.signal(signal.SIGINT, _end)
    from bench.cli import program  # noqa: PLC0415 - it imports for half a second, which Ctrl-C may interrupt

    signal.signal(signal.SIGINT, usual)
    program.run()


def _end(_number: int, _frame: object) -> None:
    """End at once: nothing was begun, and an exception could be lost in what is being imported."""
    os._exit(INTERRUPTED)
