"""Measurements of `bench provision`, which makes devices ahead of their first boot, beside django-devicehub's."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import paths
from bench.errors import BenchError
from benchmarks import processes
from benchmarks.report import Aim, Figure, Section

# Devices, and the seconds that they may take.
_RUNS = ((10_000, 5), (100_000, 60))
_OF_PEER = 40
_PATIENCE_S = 900
_MIB = 1 << 20


def measure(step: Callable[[str], None]) -> list[Section]:
    """Make devices, each number in a data folder of its own; then a few with django-devicehub.

    Args:
        step: Called with the name of each step before it.

    Returns:
        One table, with a row for each run.

    Raises:
        BenchError: A run failed, or did not make all devices.
    """
    section = Section(name="provisioning", title="Devices made in advance, with password and API key", matrix=True)
    for count, limit_s in _RUNS:
        step(f"bench provision, {count:,} devices")
        with processes.data_folder() as data:
            section.rows[f"bench provision, {count:,}"] = _own(data, count, limit_s)
    step(f"django-devicehub, {_OF_PEER} devices")
    if not (paths.BUILD / "clients" / "django_devicehub").is_dir():
        raise BenchError("django-devicehub is not in build/clients: make setup puts it there")
    with processes.data_folder() as folder:
        job = {"count": _OF_PEER, "folder": str(folder)}
        seconds = processes.client("devicehub", job, patience_s=_PATIENCE_S)["seconds"]
    section.rows[f"django-devicehub, {_OF_PEER}"] = _figures(seconds, _OF_PEER)
    return [section]


def _own(data: Path, count: int, limit_s: int) -> list[Figure]:
    bench = [sys.executable, "-c", "from bench.cli import main; main()"]
    where = ["--data", str(data)]
    subprocess.run([*bench, "profile", "create", "press", *where], check=True, stdout=subprocess.DEVNULL)
    output, errors_file = data / "made.json", data / "errors"
    began = time.monotonic()
    with errors_file.open("wb") as errors:
        arguments = [*bench, "provision", "press", "--count", str(count), "--output", str(output), *where]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or len(json.loads(output.read_text())["devices"]) != count:
        raise BenchError(f"bench provision did not make {count:,} devices: {errors_file.read_text()[-500:]}")
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / _MIB
    return [
        *_figures(seconds, count, Aim(limit=limit_s)),
        Figure(name="CPU", value=usage.ru_utime + usage.ru_stime, unit="s"),
        Figure(name="memory", value=memory, unit="MiB"),
    ]


def _figures(seconds: float, count: int, aim: Aim | None = None) -> list[Figure]:
    return [
        Figure(name="time", value=seconds, unit="s", aim=aim),
        Figure(name="devices", value=count / seconds, unit="1/s"),
    ]
