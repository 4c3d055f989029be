"""Measurements of a board that is updated over the air: time, bytes from the server, writes to the flash."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench.flash import firmware, package
from bench.flash.package import Head, Kind
from benchmarks import commands, processes
from benchmarks.boots import Bench
from benchmarks.report import Aim, Figure, Section

_VERSION = "99.0"
_PATIENCE_S = 60.0
_TIME_AIM = Aim(limit=3)
_SHARE_AIM = Aim(limit=10)


def measure(step: Callable[[str], None]) -> list[Section]:
    """Update a board's firmware, once with one changed module, and once with all changed.

    Args:
        step: Called with the name of each step before it.

    Returns:
        A table with both.

    Raises:
        BenchError: The server or a board failed.
    """
    section = Section(
        name="board_updates", title="Update of a virtual board's firmware, over MQTT on loopback", matrix=True
    )
    section.note = "from the login that finds it to the one that keeps it; the package has all modules, deflated"
    compiled = {path: content for path, content in firmware.files().items() if path.startswith("firstboot/")}
    init = firmware.compile_mpy(f'__version__ = "{_VERSION}"\n'.encode(), "firstboot")
    one = {**compiled, "firstboot/__init__.mpy": init}
    # what follows a module in its file is not looked at: so all of them differ, and all of them work
    every = {path: content + b"\0" for path, content in one.items()}
    for label, files, share_aim in (("one module changed", one, _SHARE_AIM), ("all modules changed", every, None)):
        step(f"update of a board: {label}")
        section.rows[label] = _update(files, share_aim)
    return [section]


def _update(files: dict[str, bytes], share_aim: Aim | None) -> list[Figure]:
    data = package.write(Head(kind=Kind.FIRMWARE, title="firstboot", version=_VERSION), files)
    with processes.data_folder() as folder:
        path = folder / "update.fbp"
        path.write_bytes(data)
        commands.bench(folder, "profile", "create", "default")
        commands.bench(folder, "package", "upload", str(path))
        commands.bench(folder, "package", "assign", "firstboot", _VERSION, "--profile", "default")
        with processes.real_server(folder) as server:
            board = Bench(folder, server).board()
            with board.power_on() as power:
                power.expect_event("listening", timeout_s=_PATIENCE_S)
                began, written = time.monotonic(), len(power.writes)
                fetched = power.expect_event("update", timeout_s=_PATIENCE_S, step="downloaded")["fetched"]
                power.expect_event("update", timeout_s=_PATIENCE_S, step="updated")
                seconds = time.monotonic() - began
            return _figures(seconds, fetched, len(data), power.writes[written:], share_aim)


def _figures(
    seconds: float, fetched: int, size: int, writes: list[dict[str, Any]], share_aim: Aim | None
) -> list[Figure]:
    counts = Counter(write["kind"] for write in writes)
    programmed = sum(write["bytes"] for write in writes if write["kind"] == "program")
    return [
        Figure(name="time", value=seconds, unit="s", aim=_TIME_AIM),
        Figure(name="fetched", value=fetched, unit="bytes"),
        Figure(name="of the package", value=100 * fetched / size, unit="%", aim=share_aim),
        Figure(name="erases", value=counts["erase"], unit="count (4 KiB each)"),
        Figure(name="programmed", value=programmed, unit="bytes"),
    ]
