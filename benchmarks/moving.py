"""Measurements of `bench device export` and `import`: a fleet with its credentials, from one server to another."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError
from bench.load import usage
from benchmarks import processes
from benchmarks.processes import Endpoint
from benchmarks.report import Aim, Figure, Section

_DEVICES = 20_000
_IMPORTED = 2_000
_EXPORT_S = 30
_PATIENCE_S = 900
_MIB = 1 << 20
_BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]


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
    where = ["--data", str(data)]
    subprocess.run([*_BENCH, "profile", "create", "default", *where], check=True, stdout=subprocess.DEVNULL)
    if count:
        arguments = ["provision", "default", "--count", str(count), "--serials", "SN-00001", *where]
        subprocess.run([*_BENCH, *arguments], check=True, stdout=subprocess.DEVNULL)


def _timed(
    server: Endpoint, data: Path, arguments: tuple[str, ...], count: int, aim: Aim | None = None
) -> list[Figure]:
    account = json.loads((data / "operator.json").read_text())
    password = data / "password"
    password.write_text(account["password"])
    password.chmod(0o600)
    where = ["--url", f"http://127.0.0.1:{server.ports['http']}", "--user", account["username"]]
    before = usage.peak_bytes(server.pid) or 0
    began = time.monotonic()
    with (data / "errors").open("wb") as errors:
        command = [*_BENCH, *arguments, *where, "--password-file", str(password)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        guard = threading.Timer(_PATIENCE_S, process.kill)
        guard.start()
        _, status, used = os.wait4(process.pid, 0)
        guard.cancel()
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"bench {arguments[0]} {arguments[1]} failed: {(data / 'errors').read_text()[-500:]}")
    memory = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / _MIB
    peak = usage.peak_bytes(server.pid)
    return [
        Figure(name="time", value=seconds, unit="s", aim=aim),
        Figure(name="devices", value=count / seconds, unit="1/s"),
        Figure(name="CPU", value=used.ru_utime + used.ru_stime, unit="s"),
        Figure(name="memory", value=memory, unit="MiB"),
        Figure(name="server's memory, added", value=None if peak is None else (peak - before) / _MIB, unit="MiB"),
    ]
