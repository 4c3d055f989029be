"""`bench serve` in a process of its own, and its journal."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from bench import paths
from bench.errors import BenchError

_START_S = 30.0
_STOP_S = 5.0
_POLL_S = 0.005
_PORTS = ("mqtt", "mqtts", "http", "https", "coap")


class ServerProcess:
    """A `bench serve` that runs until the end of the block. `log` is its journal, one JSON line an event.

    It listens on free ports at first, and after a restart on those again.

    Args:
        data: Its data folder, which is made if there is none.
        options: Further options of `bench serve`.

    Raises:
        BenchError: It does not start within 30 s.
    """

    _MODULE = "bench.cli"

    def __init__(self, data: Path, *options: str) -> None:
        """Start the process. Raises BenchError."""
        self.data = paths.private_folder(data)
        self.log = data / "server.log"
        self._options = options
        self._ready = data / "ready.json"
        self.ready: dict[str, Any] = {}
        """Its addresses: the content of the ready file."""
        self.start()
        self._tail = self.log.open()
        self._rest = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._tail.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def start(self) -> None:
        """Start the process, unless it runs, and wait until it listens.

        While it was gone its ports were free: a program that took one of them for a moment is waited for.

        Raises:
            BenchError: It does not listen within 30 s.
        """
        deadline = time.monotonic() + _START_S
        while not self.is_running():
            self._spawn()
            try:
                self._await_start(deadline)
            except BenchError:
                self.kill()
                if not self.ready or time.monotonic() > deadline:
                    raise
            except BaseException:
                self.kill()
                raise
        self.ready = json.loads(self._ready.read_text())

    def _spawn(self) -> None:
        self._ready.unlink(missing_ok=True)
        ports = [f"--{name}-port={self.ready[f'{name}_port']}" for name in _PORTS if self.ready]
        where = ["--data", str(self.data), "--ready-file", str(self._ready), *(ports or ["--free-ports"])]
        paths.private_file(self.log)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._MODULE, "serve", "--json", *where, *self._options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the parent, which then stops it
            )

    def _await_start(self, deadline: float) -> None:
        while not self._ready.exists():
            if not self.is_running() or time.monotonic() > deadline:
                raise BenchError(f"the server did not start: {self.log.read_text()[-500:]}")
            time.sleep(_POLL_S)

    def is_running(self) -> bool:
        """Return whether the process runs."""
        return hasattr(self, "_process") and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The process's exit code; None while it runs, negative for the signal that ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """Send SIGKILL, and wait."""
        self._process.kill()
        self._await_exit()

    def stop(self) -> None:
        """Send SIGTERM, as an operator would, and wait; kill the process if it takes more than 5 s."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._await_exit()
        except subprocess.TimeoutExpired:
            self.kill()

    def _await_exit(self) -> None:
        self._process.wait(_STOP_S)
        assert self._process.stdin
        self._process.stdin.close()

    def expect_event(self, kind: str, /, *, timeout_s: float = 30.0, **fields: Any) -> dict[str, Any]:
        """Wait for an event in the journal, and return it. The next call goes on behind it.

        Args:
            kind: Its name.
            timeout_s: How long to wait, in seconds.
            fields: The fields that it must have.

        Raises:
            BenchError: None comes in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            *lines, self._rest = (self._rest + self._tail.read()).split("\n")
            for number, line in enumerate(lines):
                found = _event(line)
                if found["event"] == kind and fields.items() <= found.items():
                    self._rest = "\n".join([*lines[number + 1 :], self._rest])
                    return found
            time.sleep(_POLL_S)
        raise BenchError(f"the server did not report {kind} within {timeout_s:.0f} s: see {self.log}")


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # a traceback, of all things
        found = None
    return found if isinstance(found, dict) and "event" in found else {"event": "", "text": line}
