"""`bench inventory`: the boards connected to this machine."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from bench import rest_client
from bench.cli.options import common, operator_session
from bench.cli.options.common import PORT_HELP
from bench.cli.options.operator_session import ServerOptions, run_on_server
from bench.cli.render import tables
from bench.cli.render.progress import ProgressBars
from bench.cli.render.tables import Json
from bench.errors import BenchError
from bench.flash import inventory as boards
from bench.flash import probe
from bench.flash.inventory import InventoryEntry
from bench.rest_client import ThingsBoard, id_of
from bench.serial import ports

_SHOWN = ("name", "mac", "port", "definition", "chip", "micropython", "firmware", "seen")
_ON_SERVER = ("device", "active")


# A list of what is connected here has no need of a server.
@common.with_options(operator_session.URL_OPTIONS, operator_session.typed_server)
def inventory(
    where: ServerOptions,
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

    The names in that file can be used for --port of all commands and --bench-target of pytest. With --url also the
    device that a board is there, which has its MAC in the name, or the board's own name.
    """
    if probing:
        _probe([boards.choose(each) for each in port] or ports.fitting() or [boards.choose(None)], as_json=as_json)
    entries = boards.read()
    rows = [asdict(each) for each in entries]
    if where.url:
        found = run_on_server(where, lambda server: _devices(server, entries))
        rows = [{**row, **each} for row, each in zip(rows, found, strict=True)]
    if not as_json:
        shown = (*_SHOWN, *_ON_SERVER) if where.url else _SHOWN
        rows = [{key: row[key] for key in shown} for row in rows]
    tables.table(rows, as_json=as_json, empty=f"no boards in {boards.path()}: find some with bench inventory --probe")


async def _devices(server: ThingsBoard, entries: list[InventoryEntry]) -> list[dict[str, Any]]:
    """Return the name of each board's device on a server, empty if it has none, and whether that is active there."""

    async def look(entry: InventoryEntry) -> dict[str, Any]:
        for text, is_whole in ((entry.mac, False), (entry.name, True)):
            for device in await server.devices(text) if text else ():
                if not is_whole or device["name"] == text:
                    state = await server.attributes(id_of(device), "SERVER_SCOPE")
                    return {"device": device["name"], "active": state.get("active") is True}
        return {"device": "", "active": False}

    return await rest_client.in_parallel(entries, look)


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
