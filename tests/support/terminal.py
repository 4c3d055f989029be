"""Commands on a terminal of their own."""

import contextlib
import os
import pty
import re
import subprocess
import sys

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(*arguments: object, columns: int = 80, typed: str = "") -> tuple[int, str]:
    """Run `bench` on a terminal of this width; return its exit code, and what it printed, without colours.

    `typed` is typed ahead.
    """
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "bench.cli", *map(str, arguments)]
    with (
        os.fdopen(master, "r+b", buffering=0) as terminal,
        subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process,
    ):
        os.close(slave)
        terminal.write(typed.encode())
        output = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := terminal.read(4096):
                output += piece
        code = process.wait()
    return code, _CONTROL.sub("", output.decode()).replace("\r\n", "\n")
