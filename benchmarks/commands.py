"""The command `bench` as a process of its own: carried out, or measured."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from benchmarks.report import Aim, Figure

BENCH = [sys.executable, "-m", "bench.cli"]
_PATIENCE_S = 900
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Run:
    """The cost of a command."""

    seconds: float
    cpu_s: float
    memory_mib: float
    """Its peak."""

    def figures(self, count: int, aim: Aim | None = None) -> list[Figure]:
        """Return the figures of a command that was about so many devices; `aim` is of the time."""
        return [
            Figure(name="time", value=self.seconds, unit="s", aim=aim),
            Figure(name="devices", value=count / self.seconds, unit="1/s"),
            Figure(name="CPU", value=self.cpu_s, unit="s"),
            Figure(name="memory", value=self.memory_mib, unit="MiB"),
        ]


def bench(data: Path, *arguments: str) -> None:
    """Carry out a command on a data folder. Raises BenchError if it fails."""
    done = subprocess.run([*BENCH, *arguments, "--data", str(data)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"bench {arguments[0]} {arguments[1]} failed: {done.stderr.strip()}")


def measured(folder: Path, *arguments: str) -> Run:
    """Carry out a command, and return its cost.

    Args:
        folder: For the file with its errors.
        arguments: Its arguments, all of them.

    Raises:
        BenchError: It failed, or was not done after a quarter of an hour.
    """
    began = time.monotonic()
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen([*BENCH, *arguments], stdout=subprocess.DEVNULL, stderr=errors)
        guard = threading.Timer(_PATIENCE_S, process.kill)
        guard.start()
        _, status, used = os.wait4(process.pid, 0)
        guard.cancel()
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"bench {arguments[0]} {arguments[1]} failed: {(folder / 'errors').read_text()[-500:]}")
    memory = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / _MIB
    return Run(seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, memory_mib=memory)
