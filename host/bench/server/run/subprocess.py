"""`bench serve` as a process of its own, and what it tells."""

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
    """A context manager; the process is gone at its end. `log` is its journal, a JSON line an event.

    It listens on free ports at first, and later on those again. `options` are further ones of `bench serve`.
    """

    _MODULE = "bench.cli"

    def __init__(self, data: Path, *options: str) -> None:
        """Start it. Raises BenchError."""
        self.data = paths.private_folder(data)
        self.log = data / "server.log"
        self._options = options
        self._ready = data / "ready.json"
        self.ready: dict[str, Any] = {}
        """Its addresses, as it writes them when it listens."""
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
        """The process."""
        return self._process.pid

    def start(self) -> None:
        """Start it, if it does not run, and wait until it listens. Raises BenchError.

        While it was gone its ports were free: whoever took one of them for a moment is waited for.
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
                start_new_session=True,  # Ctrl-C is for who made it, and who then stops it
            )

    def _await_start(self, deadline: float) -> None:
        while not self._ready.exists():
            if not self.is_running() or time.monotonic() > deadline:
                raise BenchError(f"the server did not start: {self.log.read_text()[-500:]}")
            time.sleep(_POLL_S)

    def is_running(self) -> bool:
        """Whether it is there."""
        return hasattr(self, "_process") and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The process's exit code; None while it runs, negative for the signal that ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL, at once."""
        self._process.kill()
        self._await_exit()

    def stop(self) -> None:
        """End it as an operator would, and wait."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._await_exit()
        except subprocess.TimeoutExpired:
            self.kill()

    def _await_exit(self) -> None:
        self._process.wait(_STOP_S)
        assert self._process.stdin
        self._process.stdin.close()

    def wait_for(self, event: str, *, timeout_s: float = 30.0, **fields: Any) -> dict[str, Any]:
        """The next event of this name with these fields in its journal. Raises BenchError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            *lines, self._rest = (self._rest + self._tail.read()).split("\n")
            for number, line in enumerate(lines):
                found = _event(line)
                if found["event"] == event and fields.items() <= found.items():
                    self._rest = "\n".join([*lines[number + 1 :], self._rest])
                    return found
            time.sleep(_POLL_S)
        raise BenchError(f"the server did not report {event} within {timeout_s:.0f} s: see {self.log}")


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # a traceback, of all things
        found = None
    return found if isinstance(found, dict) and "event" in found else {"event": "", "text": line}
