"""How commands show what they found: tables for people, JSON for scripts."""

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False, soft_wrap=True, emoji=False)  # a fingerprint may hold :CD:
_errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

Data = Annotated[Path, typer.Option(help="The data folder: registry, virtual boards.", envvar="BENCH_DATA")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
DEFAULT_DATA = Path(".bench")
_ANY_WIDTH = 1000


def data_option(data: Path) -> str:
    """What a command that is shown needs to find the same data folder, ready to be pasted and printed."""
    return "" if data == DEFAULT_DATA else escape(f" --data {shlex.quote(str(data))}")


def fail(message: str) -> None:
    """One line on standard error."""
    _errors.print(f"[red]error:[/red] {escape(' '.join(message.split()))}")


def warn(message: str) -> None:
    """One line on standard error that stops nothing."""
    _errors.print(f"[yellow]warning:[/yellow] {escape(' '.join(message.split()))}")


def ask(text: str) -> None:
    """One line on standard error: what the user has to do before it goes on."""
    _errors.print(f"[cyan]now:[/cyan] {escape(text)}")


def say(text: str) -> None:
    """A line that is no more than that: its brackets are no markup."""
    console.print(escape(text))


def moment(ms: int) -> str:
    """Milliseconds since the epoch as UTC, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str) -> None:
    """Rows as a table, with the keys of the first as its head; `empty` is said when there are none."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        console.print(empty)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        shown.add_column(key, overflow="fold")  # whole, on as many lines as it takes: nothing is cut off
    for row in rows:
        shown.add_row(*(escape(str(value)) for value in row.values()))
    draw(shown)


def draw(shown: Table, *, folds: bool = True) -> None:
    """Print a table. Cells that are figures do not fold: a terminal that is too narrow breaks the lines.

    What is not a terminal has no width that a line could be too long for.
    """
    if console.is_terminal and folds:
        console.print(shown)
    else:
        Console(width=_ANY_WIDTH, highlight=False, emoji=False).print(shown)


def facts(values: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing's facts, a line each."""
    if as_json:
        print(json.dumps(values, indent=2))
        return
    width = max(map(len, values))
    for key, value in values.items():
        text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
        console.print(f"[bold]{key:<{width}}[/bold]  {escape(text)}")
