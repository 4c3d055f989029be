"""Output of commands: tables and lines for people, JSON for scripts."""

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
    """Return the --data option for a command to paste, with its markup escaped; empty for the default folder."""
    return "" if data == DEFAULT_DATA else escape(f" --data {shlex.quote(str(data))}")


def fail(message: str) -> None:
    """Print an error, one line on standard error."""
    _errors.print(f"[red]error:[/red] {escape(' '.join(message.split()))}")


def warn(message: str) -> None:
    """Print a warning, one line on standard error."""
    _errors.print(f"[yellow]warning:[/yellow] {escape(' '.join(message.split()))}")


def instruct(text: str) -> None:
    """Print an instruction that the user has to follow before the command goes on, on standard error."""
    _errors.print(f"[cyan]now:[/cyan] {escape(text)}")


def echo(text: str) -> None:
    """Print a line as it is, without markup."""
    console.print(escape(text))


def utc_time(ms: int) -> str:
    """Format milliseconds since the epoch as UTC, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print rows as a table or as a JSON list.

    Args:
        rows: The keys of the first row are the head.
        as_json: Print JSON.
        empty: The text to print instead of a table without rows.
    """
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
    """Print a table.

    Args:
        shown: The table.
        folds: Fold cells to the terminal's width. Figures must not fold: a narrow terminal breaks the lines instead.
    """
    if console.is_terminal and folds:
        console.print(shown)
    else:  # a file or a pipe has no width that a line could exceed
        Console(width=_ANY_WIDTH, highlight=False, emoji=False).print(shown)


def facts(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the facts about one thing, a line each or as a JSON object."""
    if as_json:
        print(json.dumps(values, indent=2))
        return
    width = max(map(len, values))
    for key, value in values.items():
        text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
        console.print(f"[bold]{key:<{width}}[/bold]  {escape(text)}")
