"""Results of conformance checks: a table for people, JSON for scripts, JUnit XML for CI; and the exit code."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from bench.cli.render import tables
from bench.conformance.check import BAD, Check, CheckOutcome, Verdict
from bench.errors import BenchError

_COLOURS = {Verdict.HOLDS: "green", Verdict.BROKEN: "red", Verdict.SKIPPED: "dim", Verdict.TROUBLE: "yellow"}


def show_list(checks: Sequence[Check[Any]], *, as_json: bool) -> None:
    """Print the checks."""
    rows = [{"check": each.name, "rule": each.rule, "source": each.source} for each in checks]
    tables.table(rows, as_json=as_json, empty="")


def collect(outcomes: Iterable[CheckOutcome], total: int, *, as_json: bool) -> list[CheckOutcome]:
    """Collect the outcomes of checks as they run, with a bar on a terminal."""
    found = []
    columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    quiet = as_json or not tables.console.is_terminal
    with Progress(*columns, console=tables.console, disable=quiet, transient=True) as progress:
        task = progress.add_task("", total=total)
        for each in outcomes:
            found.append(each)
            progress.update(task, advance=1, description=tables.shown(each.name))
    return found


def show(outcomes: Sequence[CheckOutcome], *, again: str, as_json: bool, more: Mapping[str, Any]) -> None:
    """Print the outcomes of checks.

    Args:
        outcomes: Of all checks that ran.
        again: The command that repeats them; --only is appended for each broken check.
        as_json: Print JSON.
        more: Further members of the JSON object.
    """
    counts = Counter(each.verdict for each in outcomes)
    if as_json:
        counted = {each.value: counts[each] for each in Verdict}
        tables.print_json({"checks": [each.entry() for each in outcomes], "counts": counted, **more})
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("check", no_wrap=True)
    shown.add_column("verdict")
    shown.add_column("rule (source), and what was seen instead", overflow="fold")
    for each in outcomes:
        colour = _COLOURS[each.verdict]
        seen = f"\n[{colour}]{tables.shown(each.detail)}[/]" if each.detail else ""
        rule = f"{tables.shown(each.rule)} [dim]({tables.shown(each.source)})[/]{seen}"
        shown.add_row(each.name, f"[{colour}]{each.verdict}[/]", rule)
    tables.draw(shown)
    seconds = sum(each.seconds for each in outcomes)
    hold, broken, skipped, trouble = (counts[each] for each in Verdict)
    tables.echo(f"{hold} hold, {broken} broken, {skipped} skipped, {trouble} in trouble, in {seconds:.1f} s")
    # once more, where it is not scrolled away
    for each in outcomes:
        if each.verdict is Verdict.BROKEN:
            tables.echo(f"broken: {each.name}: {each.detail}")
            tables.echo(f"  {again} --only {each.name}")
    for why, count in Counter(each.detail for each in outcomes if each.verdict is Verdict.TROUBLE).items():
        tables.echo(f"trouble ({count}): {why}")


def write_junit(path: Path, outcomes: Sequence[CheckOutcome]) -> None:
    """Write the outcomes as JUnit XML, for CI servers."""
    counts = Counter(each.verdict for each in outcomes)
    suite = ET.Element(
        "testsuite",
        name="conformance",
        tests=str(len(outcomes)),
        failures=str(counts[Verdict.BROKEN]),
        errors=str(counts[Verdict.TROUBLE]),
        skipped=str(counts[Verdict.SKIPPED]),
        time=str(round(sum(each.seconds for each in outcomes), 3)),
    )
    tags = {Verdict.BROKEN: "failure", Verdict.TROUBLE: "error", Verdict.SKIPPED: "skipped"}
    for each in outcomes:
        group, _, name = each.name.rpartition(".")
        case = ET.SubElement(suite, "testcase", classname=group, name=name, time=str(each.seconds))
        if tag := tags.get(each.verdict):
            ET.SubElement(case, tag, message=each.detail).text = f"{each.rule} ({each.source})"
    path.write_bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def exit_by(outcomes: Iterable[CheckOutcome]) -> None:
    """End the command with exit code 1 if a check is broken or in trouble.

    Raises:
        BenchError: All were skipped: nothing is known about the server or the board.
    """
    verdicts = {each.verdict for each in outcomes}
    if verdicts.intersection(BAD):
        raise typer.Exit(1)
    if verdicts == {Verdict.SKIPPED}:
        raise BenchError("nothing was checked: each check says what it needs (bench conformance --help)")
