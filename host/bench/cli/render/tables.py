"""Output of commands: tables and lines for people, JSON for scripts."""

import json
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape  # noqa: TID251 - for `shown`
from rich.table import Table

from bench.text import printable, printable_lines

console = Console(highlight=False, soft_wrap=True, emoji=False)  # a fingerprint may hold :CD:
_errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

Data = Annotated[
    Path,
    typer.Option(metavar="FOLDER", help="The data folder: the server's records, virtual boards.", envvar="BENCH_DATA"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
DEFAULT_DATA = Path(".bench")
_ANY_WIDTH = 1000
# Characters of a cell that stays on one line.
_WHOLE = 20


def data_option(data: Path) -> str:
    """Return the --data option for a command to paste, with its markup escaped; empty for the default folder."""
    return "" if data == DEFAULT_DATA else shown(f" --data {shlex.quote(str(data))}")


def shown(value: object) -> str:
    """Return a value as markup for `console`: one line, of which the terminal obeys nothing.

    All that boards, servers, files and people wrote goes through here on its way to a terminal: a device's name may
    hold control characters, line breaks, and brackets that would be markup.
    """
    return escape(printable(str(value)))


def fail(message: str) -> None:
    """Print an error, one line on standard error."""
    _errors.print(f"[red]error:[/red] {shown(' '.join(message.split()))}")


def warn(message: str) -> None:
    """Print a warning, one line on standard error."""
    _errors.print(f"[yellow]warning:[/yellow] {shown(' '.join(message.split()))}")


def note(text: str) -> None:
    """Print what a command goes by, one line on standard error."""
    _errors.print(f"[dim]{shown(text)}[/dim]")


def instruct(text: str) -> None:
    """Print an instruction that the user has to follow before the command goes on, on standard error."""
    _errors.print(f"[cyan]now:[/cyan] {shown(text)}")


def echo(text: str) -> None:
    """Print one line, without markup."""
    console.print(shown(text))


def write(text: str) -> None:
    """Write a piece of a board's output, at once: its line breaks stay, all else that a terminal obeys is escaped."""
    sys.stdout.write(printable_lines(text))
    sys.stdout.flush()


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON in ASCII, at once; an indentation of None makes it one line."""
    print(json.dumps(value, indent=indent).replace("\x7f", "\\u007f"), flush=True)


def utc_time(ms: int) -> str:
    """Format milliseconds since the epoch as UTC, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str, whole: Collection[str] = ()) -> None:
    """Print rows as a table or as a JSON list.

    Args:
        rows: The keys of the first row are the head.
        as_json: Print JSON.
        empty: The text to print instead of a table without rows.
        whole: Keys of columns whose cells stay on one line where the terminal has room for that, as others fold.
    """
    if as_json:
        print_json(rows)
        return
    if not rows:
        echo(empty)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        longest = max(len(str(row.get(key, ""))) for row in rows) if key in whole else 0
        # whole, on as many lines as it takes: nothing is cut off
        drawn.add_column(shown(_words(key)), overflow="fold", min_width=min(longest, _WHOLE) or None)
    for row in rows:
        drawn.add_row(*(shown(value) for value in row.values()))
    draw(drawn)


def draw(drawn: Table, *, folds: bool = True) -> None:
    """Print a table.

    Args:
        drawn: The table.
        folds: Fold cells to the terminal's width. Figures must not fold: a narrow terminal breaks the lines instead.
    """
    if console.is_terminal and folds:
        console.print(drawn)
    else:  # a file or a pipe has no width that a line could exceed
        Console(width=_ANY_WIDTH, highlight=False, emoji=False).print(drawn)


def facts(values: Mapping[str, Any], *, as_json: bool, done: str = "") -> None:
    """Print the facts about one thing, a line each or as a JSON object.

    Args:
        values: The facts.
        as_json: Print JSON.
        done: For people, on a line before them: what the command changed.
    """
    if as_json:
        print_json(values)
        return
    if done:
        echo(done)
    width = max(map(len, values))
    for key, value in values.items():
        text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
        console.print(f"[bold]{shown(f'{_words(key):<{width}}')}[/bold]  {shown(text)}")


def _words(key: str) -> str:
    """Return a key of JSON as words for people."""
    return key.replace("_", " ")
