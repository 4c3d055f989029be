"""Measurements of `bench device export` and `import`: a fleet with its credentials, from one server to another."""

import json
from collections.abc import Callable
from pathlib import Path

from bench import paths
from bench.errors import BenchError
from bench.load import usage
from benchmarks import commands, processes
from benchmarks.processes import Endpoint
from benchmarks.report import Aim, Figure, Section

_DEVICES = 20_000
_IMPORTED = 2_000
_EXPORT_S = 30
_MIB = 1 << 20


def measure(step: Callable[[str], None]) -> list[Section]:
    """Export devices from a server that runs, and import some of them into an empty one.

    Args:
        step: Called with the name of each step before it.

    Returns:
        One table, with a row for each command.

    Raises:
        BenchError: A command failed, or not all devices are there.
    """
    section = Section(name="moving", title="A fleet with its credentials, from one server to another", matrix=True)
    with processes.data_folder() as folder:
        step(f"bench device export, {_DEVICES:,} devices")
        file = folder / "fleet.jsonl"
        _made(folder / "old", _DEVICES)
        with processes.real_server(folder / "old") as server:
            export = ("device", "export", str(file), "--with-credentials")
            section.rows[f"export, {_DEVICES:,}"] = _timed(
                server, folder / "old", export, _DEVICES, Aim(limit=_EXPORT_S)
            )
        lines = file.read_bytes().splitlines(keepends=True)
        if len(lines) != _DEVICES:
            raise BenchError(f"bench device export wrote {len(lines):,} of {_DEVICES:,} devices")
        step(f"bench device import, {_IMPORTED:,} devices")
        file.write_bytes(b"".join(lines[:_IMPORTED]))
        _made(folder / "new", 0)
        with processes.real_server(folder / "new") as server:
            section.rows[f"import, {_IMPORTED:,}"] = _timed(
                server, folder / "new", ("device", "import", str(file)), _IMPORTED
            )
    return [section]


def _made(data: Path, count: int) -> None:
    """Make a data folder with the profile `default` and devices of it."""
    commands.bench(data, "profile", "create", "default")
    if count:
        commands.bench(data, "provision", "default", "--count", str(count), "--serials", "SN-00001")


def _timed(
    server: Endpoint, data: Path, arguments: tuple[str, ...], count: int, aim: Aim | None = None
) -> list[Figure]:
    account = json.loads((data / "operator.json").read_text())
    password = data / "password"
    paths.write_private(password, account["password"].encode())
    where = ["--url", f"http://127.0.0.1:{server.ports['http']}", "--user", account["username"]]
    before = usage.peak_bytes(server.pid) or 0
    run = commands.measured(data, *arguments, *where, "--password-file", str(password))
    peak = usage.peak_bytes(server.pid)
    added = None if peak is None else (peak - before) / _MIB
    return [*run.figures(count, aim), Figure(name="server's memory, added", value=added, unit="MiB")]
