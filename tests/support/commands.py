"""Commands as a user runs them, and checks of the processes that they leave."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.forks import bench_command as bench

__all__ = [
    "FLEET_PATIENCE_S",
    "PATIENCE_S",
    "bench",
    "bench_in",
    "gone",
    "nothing_is_left",
    "printed",
    "processes",
    "refused",
    "serving",
]

PATIENCE_S = 60
FLEET_PATIENCE_S = 120


def printed(*arguments: str):
    done = bench(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(code: int, message: str, *arguments: object, **environment: str) -> str:
    """Expect that a command fails with this code and one line, which has this message; return the line."""
    done = bench(*arguments, env=environment)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def processes() -> list[str]:
    """Return the command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # gone meanwhile
            continue
    return found


def gone(text: str) -> None:
    """Wait until no process has this text in its command line."""
    deadline = time.monotonic() + 10
    while [line for line in processes() if text in line]:
        assert time.monotonic() < deadline, "something still runs"
        time.sleep(0.05)  # processes that are not our children cannot be awaited


def bench_in(cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with this folder as its working directory."""
    return bench(*arguments, cwd=cwd, timeout=FLEET_PATIENCE_S)


def nothing_is_left(cwd: Path) -> None:
    """Expect that no folder is left in `.bench`, and no process with `cwd` in its command line."""
    assert [each.name for each in cwd.glob(".bench/*")] == []
    open_folders = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            open_folders.append(path.read_bytes())
        except OSError:  # gone meanwhile
            continue
    assert not [each for each in open_folders if str(cwd).encode() in each]


@contextmanager
def serving(data: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `bench serve` on a data folder, as a user does; kill it at the end of the block."""
    ready = data.with_name("ready.json")
    options = ("--data", data, "--free-ports", "--ready-file", ready, "--json")
    with (
        data.with_name("journal").open("wb") as journal,
        subprocess.Popen([sys.executable, "-m", "bench.cli", "serve", *options], stdout=journal) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not ready.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process
        finally:
            process.kill()
