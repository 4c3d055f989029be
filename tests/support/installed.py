"""The bench as its users have it: a wheel, installed into an environment outside of the checkout."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import paths

_PATIENCE_S = 240
_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")
# CI installs exactly what the lock names, as `make setup` does.
_LOCK = ("-c", str(paths.CHECKOUT / "requirements.lock")) if os.environ.get("CI") else ()


class Installed:
    """An environment with the wheel, and an empty folder `cwd` where its user stands."""

    def __init__(self, folder: Path, *packages: str, python: str = sys.executable, extras: str = "") -> None:
        """Build the wheel and install it.

        Args:
            folder: An empty folder for all of it.
            python: The Python of the environment.
            packages: Other packages that the environment has.
            extras: The wheel's extras, e.g. `[test]`.
        """
        self.cwd = folder / "user"
        self.cwd.mkdir()
        self._bin = folder / "environment" / "bin"
        _check([sys.executable, *_PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(paths.CHECKOUT)])
        (wheel,) = folder.glob("*.whl")
        _check([python, "-m", "venv", str(folder / "environment")])
        self.install(*_LOCK, f"{wheel}{extras}", *packages)
        kept = ("BENCH_", "PYTHON", "PYTEST_", "MAKE", "VIRTUAL_ENV", "XDG_CACHE_HOME")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(kept)}
        self.environment |= {"XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "200"}

    def install(self, *packages: str) -> None:
        """Install packages, or other versions of them."""
        _check([str(self._bin / "python"), *_PIP, "install", "--no-compile", *packages])

    def run(self, program: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a program of the environment, and wait for it."""
        return subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.cwd,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def works(self, program: str, *arguments: str, **environment: str) -> str:
        """Run a program that has to succeed, and return its output."""
        done = self.run(program, *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def running(self, *arguments: str) -> Iterator[dict[str, Any]]:
        """Run a command of the bench that has `--ready-file`; give what it writes there, and end it by Ctrl-C."""
        ready_file = self.cwd / f"{arguments[0]}.ready.json"
        command = [str(self._bin / "bench"), *arguments, "--ready-file", str(ready_file)]
        with subprocess.Popen(command, cwd=self.cwd, env=self.environment, stdout=subprocess.DEVNULL) as process:
            try:
                deadline = time.monotonic() + _PATIENCE_S
                while not ready_file.exists():
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.02)  # a file cannot be awaited
                yield json.loads(ready_file.read_text())
                process.send_signal(signal.SIGINT)
                assert process.wait(_PATIENCE_S) in (0, 130)
            finally:
                process.kill()


def _check(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
