"""`make bench`: run the benchmarks, print tables, write JSON.

A figure that misses its aim is only shown; the run fails only if something did not work.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import paths
from bench.errors import BenchError
from bench.load import host_info
from benchmarks import (
    board_updates,
    device,
    flashing,
    fleets,
    handshakes,
    idle,
    moving,
    neighbours,
    peer,
    provisioning,
    ram,
    report,
    server,
    updates,
)
from benchmarks.report import Section

PARTS = (
    "server",
    "handshakes",
    "peer",
    "idle",
    "neighbours",
    "updates",
    "provisioning",
    "moving",
    "ram",
    "device",
    "flash",
    "fleet",
)
RESULTS = paths.CHECKOUT / "benchmarks" / "results"
_WIDTH = 180  # of a table in a log, which does not have a width
_progress = Console(stderr=True)


def main() -> int:
    """Run the benchmarks; return the exit code: 0, or 1 if something did not work."""
    options = _options()
    signal.signal(signal.SIGTERM, _terminated)  # so that every process and folder of ours goes away
    now = datetime.now(UTC)
    path = options.output or RESULTS / f"{now:%Y-%m-%dT%H-%M-%SZ}.json"
    result = _conditions(now, options.seconds)
    try:
        with _steps() as step:
            parts: dict[str, Callable[[], list[Section]]] = {
                "server": lambda: server.measure(options.seconds, step),
                "handshakes": lambda: handshakes.measure(options.seconds, step),
                "peer": lambda: peer.measure(options.seconds, step),
                "idle": lambda: idle.measure(options.connections, step),
                "neighbours": lambda: neighbours.measure(options.seconds, step),
                "updates": lambda: board_updates.measure(step) + updates.measure(options.seconds, step),
                "provisioning": lambda: provisioning.measure(step),
                "moving": lambda: moving.measure(step),
                "ram": lambda: ram.measure(step),
                "device": lambda: device.measure(step),
                "flash": lambda: flashing.measure(step),
                "fleet": lambda: fleets.measure(step),
            }
            sections = [each for name in PARTS if options.only in (None, name) for each in parts[name]()]
    except BenchError as error:
        _progress.print(f"[red]error:[/red] {error}", markup=True, highlight=False)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    result["sections"] = {section.name: section.as_json() for section in sections}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        report.show(Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH), sections)
        print(f"written to {path}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Benchmarks of server and device.")
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument("--seconds", type=_duration, default=3.0, help="of each load on the server (default 3)")
    parser.add_argument("--connections", type=_count, default=10_000, help="of idle devices (default 10000)")
    parser.add_argument("--output", type=Path, help="the JSON file (default benchmarks/results/<UTC>.json)")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of tables")
    return parser.parse_args()


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0 and at most 3600 seconds")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 1,000,000")
    return int(text)


def _conditions(now: datetime, seconds: float) -> dict[str, Any]:
    """Return the conditions that the figures depend on."""
    found = host_info.conditions()
    return {
        "at": now.isoformat(timespec="seconds"),
        **found,
        "load_average_1_min": {"value": found["load_average_1_min"], "unit": "processes, before the run"},
        "load_duration": {"value": seconds, "unit": "s"},
    }


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Return a context with a function that shows the present step on standard error: a spinner, or lines in a log."""
    if not _progress.is_terminal:
        yield lambda text: _progress.print(text, markup=False, highlight=False)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=_progress, transient=True) as progress:
        task = progress.add_task("")
        yield lambda text: progress.update(task, description=text)


def _terminated(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
