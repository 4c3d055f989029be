"""Measurements of `bench provision`, which makes devices ahead of their first boot, beside django-devicehub's."""

import json
from collections.abc import Callable
from pathlib import Path

from bench import paths
from bench.errors import BenchError
from benchmarks import commands, processes
from benchmarks.report import Aim, Figure, Section

# Devices, and the seconds that they may take.
_RUNS = ((10_000, 5), (100_000, 60))
_OF_PEER = 40
_PATIENCE_S = 900


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
    section.rows[f"django-devicehub, {_OF_PEER}"] = [
        Figure(name="time", value=seconds, unit="s"),
        Figure(name="devices", value=_OF_PEER / seconds, unit="1/s"),
    ]
    return [section]


def _own(data: Path, count: int, limit_s: int) -> list[Figure]:
    commands.bench(data, "profile", "create", "press")
    output = data / "made.json"
    arguments = ("provision", "press", "--count", str(count), "--output", str(output), "--data", str(data))
    run = commands.measured(data, *arguments)
    if len(json.loads(output.read_text())["devices"]) != count:
        raise BenchError(f"bench provision did not make {count:,} devices")
    return run.figures(count, Aim(limit=limit_s))
