"""`bench inventory`: the boards of this bench."""

from dataclasses import asdict
from typing import Annotated

import typer

from bench.cli.options.common import PORT_HELP
from bench.cli.render import tables
from bench.cli.render.progress import Bars
from bench.cli.render.tables import Json
from bench.errors import BenchError
from bench.flash import inventory as boards
from bench.flash import probe
from bench.serial import ports

_SHOWN = ("name", "mac", "port", "definition", "chip", "micropython", "firmware", "seen")


def inventory(
    port: Annotated[
        list[str], typer.Option("--port", help=f"With --probe: {PORT_HELP}. All that a board may be on if not given.")
    ] = [],  # noqa: B006 - typer's way to say that there may be none
    asks: Annotated[
        bool, typer.Option("--probe", help="Ask the boards what they are, and write it down. It interrupts them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the boards in boards.local.toml, or ask those on ports what they are and note it there.

    Names that you write there are good for --target of pytest and --port of all commands.
    """
    if asks:
        _probe([boards.choose(each) for each in port] or ports.fitting() or [boards.choose(None)], as_json=as_json)
    rows = [asdict(each) for each in boards.read()]
    if not as_json:
        rows = [{key: row[key] for key in _SHOWN} for row in rows]
    tables.table(rows, as_json=as_json, empty=f"no boards in {boards.path()}: bench inventory --probe looks for some")


def _probe(lines: list[str], *, as_json: bool) -> None:
    """Ask each; those that do not answer are said at the end."""
    silent: list[str] = []
    with Bars(lines, as_json=as_json) as shown:
        for line in lines:
            bar = shown.of(line)
            bar.phase("look")
            try:
                found = probe.probe(line, bar)
            except BenchError as error:
                silent.append(f"{line}: {ports.reason(error)}")
                bar.end("no answer", good=False)
                continue
            fits = probe.definitions_for(found)
            boards.record(found, fits[0] if len(fits) == 1 else "")
            bar.end(f"{found.chip}, {found.mac}", good=True)
    if silent:
        raise BenchError("; ".join(silent))
