"""`bench serve` in forked processes."""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any, Self

from bench import cli
from tests.support import forks

PATIENCE_S = 60.0
_POLL_S = 0.005  # a ready file cannot be awaited


class Serving:
    """A running `bench serve`: `with Serving(data, output, *options) as server:`; killed at the end of the block.

    `output` is the file to which its output is appended.
    """

    def __init__(self, data: Path, output: Path, *options: str) -> None:
        self._ready_file = data.with_name(f"{data.name}.ready.json")
        self._ready_file.unlink(missing_ok=True)
        arguments = ["serve", "--json", "--data", str(data), "--free-ports", "--ready-file", str(self._ready_file)]
        self._process = forks.process(_serve, [*arguments, *options], output)

    def __enter__(self) -> Self:
        start = time.monotonic()
        self._process.start()
        while not self._ready_file.exists():
            assert self._process.is_alive(), "the server did not start"
            assert time.monotonic() < start + PATIENCE_S
            time.sleep(_POLL_S)
        self.started_s = time.monotonic() - start
        self.ready: dict[str, Any] = json.loads(self._ready_file.read_bytes())
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill the process at once, with SIGKILL."""
        self._process.kill()
        self._process.join()


def _serve(arguments: list[str], output: Path) -> None:
    forks.redirect(output, 1)
    forks.redirect(output, 2)
    sys.argv[1:] = arguments
    with contextlib.suppress(SystemExit):
        cli.main()
