"""`bench inventory`: the boards connected to this machine."""

from dataclasses import asdict
from typing import Annotated

import typer

from bench.cli.options.common import PORT_HELP
from bench.cli.render import tables
from bench.cli.render.progress import ProgressBars
from bench.cli.render.tables import Json
from bench.errors import BenchError
from bench.flash import inventory as boards
from bench.flash import probe
from bench.serial import ports

_SHOWN = ("name", "mac", "port", "definition", "chip", "micropython", "firmware", "seen")


def inventory(
    port: Annotated[
        list[str],
        typer.Option(
            "--port",
            metavar="PORT",
            help=f"{PORT_HELP}. Repeatable. Only with --probe. Default: all ports that may have a board.",
        ),
    ] = [],  # noqa: B006 - how typer declares a list
    probing: Annotated[
        bool, typer.Option("--probe", help="Query the boards and record what they are. Interrupts their programs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the boards in boards.local.toml, or query the boards on ports and record them there.

    The names in that file can be used for --port of all commands and --bench-target of pytest.
    """
    if probing:
        _probe([boards.choose(each) for each in port] or ports.fitting() or [boards.choose(None)], as_json=as_json)
    rows = [asdict(each) for each in boards.read()]
    if not as_json:
        rows = [{key: row[key] for key in _SHOWN} for row in rows]
    tables.table(rows, as_json=as_json, empty=f"no boards in {boards.path()}: find some with bench inventory --probe")


def _probe(lines: list[str], *, as_json: bool) -> None:
    """Query each board; raise BenchError at the end for those that do not answer."""
    silent: list[str] = []
    with ProgressBars(lines, as_json=as_json) as shown:
        for line in lines:
            bar = shown.bar(line)
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
