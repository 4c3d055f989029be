"""Processes that are forked off one which has imported the bench: a start costs no more than its work.

A command that is started from scratch imports for half a second first; tests start some hundreds. Tests of the process
itself, its signals or its terminal start a real one.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import bench.server.run.foreground
import bench.server.run.in_process  # noqa: F401 - imported here once, so that no start imports it
from bench import cli
from bench.cli import program  # noqa: F401 - as above

COLUMNS = {"COLUMNS": "200"}
PATIENCE_S = 60.0

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, "tests.support.warm_start"])


def process(target, *args):
    """Return a process that is not started yet."""
    width = os.environ.get("COLUMNS")
    os.environ.update(COLUMNS)  # rich reads it when it is imported
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        if width is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = width
    return _context.Process(target=target, args=args)


def bench_command(
    *arguments: object,
    typed: str | bytes = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = PATIENCE_S,
) -> "subprocess.CompletedProcess[str]":
    """Run `bench` with these arguments, and wait for it; `env` is merged into our environment."""
    words = [str(each) for each in arguments]
    with tempfile.TemporaryDirectory(prefix="bench-command-") as folder:
        place = Path(folder)
        (place / "in").write_bytes(typed if isinstance(typed, bytes) else typed.encode())
        running = process(_run, words, {**os.environ, **COLUMNS, **(env or {})}, str(cwd or Path.cwd()), folder)
        running.start()
        try:
            running.join(timeout)
            if running.exitcode is None:
                raise subprocess.TimeoutExpired(words, timeout)
        finally:
            running.kill()
            running.join()
        output, complaint = ((place / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(words, running.exitcode, output, complaint)


def _run(words: list[str], environment: dict[str, str], cwd: str, folder: str) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    redirect(Path(folder) / "out", 1)
    redirect(Path(folder) / "err", 2)
    os.dup2(os.open(Path(folder) / "in", os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv[:] = ["bench", *words]
    cli.main()


def redirect(file: Path, descriptor: int) -> None:
    """Append everything written to a descriptor to a file that only its owner can read."""
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(opened, descriptor)
    os.close(opened)
