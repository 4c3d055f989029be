"""Results of a fleet for people: counts, a table, histograms."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.table import Table

from bench.cli.render import tables
from bench.load import report
from bench.load.life import Life

_SHOWN = 10  # of what failed
_BINS, _WIDTH = 12, 40
_LEAST_S = 0.01  # between two edges, which are printed to this precision
_MB = 1e6
_STEPS = {
    "link_up": "link up",
    "answer": "provisioning answered",
    "provisioned": "provisioned",
    "connected": "connected",
    "telemetry": "first telemetry acknowledged",
}
_LAPS = (("from_power_on_s", "from power-on"), ("by_own_clock_s", "by its own clock"), ("after_restart_s", "back"))
_OF_CPU = (("cpu_s", "on a CPU until online"), ("waited_for_cpu_s", "waiting for a CPU until online"))
_COLUMNS = ("p50", "p95", "p99", "max")


def show(title: str, found: dict[str, Any], lives: Sequence[Life]) -> None:
    """Print the results of `bench fleet`.

    Args:
        title: A description of the fleet.
        found: The figures, as `--json` prints them.
        lives: The life of each device, for histograms and reasons.
    """
    failed = len(found["failed"])
    colour = "green" if found["good"] else "red"
    tables.console.print(
        f"[bold]{title}[/bold]: [{colour}]{found['provisioned']} provisioned, {found['online']} online, "
        f"{failed} failed[/{colour}], in {found['took_s']:.1f} s, "
        f"switched on within {found['switched_on_within_s'] or 0:.1f} s\n"
    )
    _times(found)
    for lap, name in ((0, "power-on to online"), (1, "server back to online")):
        if times_s := report.times_s(lives, lap):
            tables.console.print(f"\n[bold]{name}, seconds[/bold]")
            _histogram(times_s)
    tables.console.print()
    _facts(found)
    if failed:
        _failures(found, lives)


def _times(found: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("seconds")
    for each in _COLUMNS:
        table.add_column(each, justify="right")
    for key, words in _LAPS:
        for step, values in found[key].items():
            table.add_row(f"{words}: {_STEPS[step]}", *(f"{values[each]:.2f}" for each in _COLUMNS))
    for key, words in _OF_CPU:
        if values := found[key]:
            table.add_row(words, *(f"{values[each]:.2f}" for each in _COLUMNS))
    tables.draw(table)


def _histogram(times_s: Sequence[float]) -> None:
    low, high = min(times_s), max(times_s)
    step = max((high - low) / _BINS, _LEAST_S)
    bins = min(int((high - low) / step) + 1, _BINS)
    counts = [0] * bins
    for each in times_s:
        counts[min(int((each - low) / step), bins - 1)] += 1
    edges = [low + step * number for number in range(bins + 1)]
    for (begin, end), count in zip(pairwise(edges), counts, strict=True):
        bar = "█" * -(-count * _WIDTH // max(counts))
        tables.console.print(f"{begin:8.2f} to {end:8.2f}  [cyan]{bar}[/cyan] {count}")


def _facts(found: dict[str, Any]) -> None:
    for key, words in (("attempts", "attempts"), ("attempts_after_restart", "attempts to come back")):
        if found[key]:
            shown = ", ".join(f"{count:,} took {attempts}" for attempts, count in found[key].items())
            tables.console.print(f"[bold]{words}[/bold]  {shown}")
    registry = found["registry"]
    if registry:
        rate = "" if registry["exchanges_per_s"] is None else f", {registry['exchanges_per_s']:,} exchanges a second"
        tables.console.print(f"[bold]registry[/bold]  {registry['devices']:,} devices{rate}")
    else:
        tables.console.print("[bold]registry[/bold]  [red]no answer from the server[/red]")
    shown = ", ".join(f"{who} {_shown(value, _MB)} MB" for who, value in found["memory_bytes"].items())
    tables.console.print(f"[bold]memory at most[/bold]  {shown}")
    shown = ", ".join(f"{who} {_shown(value, 1)} s" for who, value in found["cpu_used_s"].items())
    tables.console.print(f"[bold]CPU time[/bold]  {shown}")


def _failures(found: dict[str, Any], lives: Sequence[Life]) -> None:
    tables.console.print("\n[bold]why[/bold]")
    for reason, count in report.reasons(lives).most_common(_SHOWN):
        tables.console.print(f"{count:>6}  {tables.shown(reason)}")
    names = [each["name"] for each in found["failed"]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    tables.echo(f"failed: {', '.join(names[:_SHOWN])}{more}")
    if found["consoles"]:
        tables.echo(f"their consoles: {found['consoles']}")


def _shown(value: float | None, unit: float) -> str:
    return "?" if value is None else f"{value / unit:,.1f}"
