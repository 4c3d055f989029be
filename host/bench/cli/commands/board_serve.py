"""`bench board serve`: a virtual board at the end of a serial line, for esptool, mpremote and the bench."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench import boards, paths
from bench.cli.commands import board
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA, Data, Json
from bench.errors import BenchError
from bench.virtual import line_server
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.uart_timing import LineFaults


def serve(
    name: str,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="TCP port on this machine. 0: any free one.")
    ] = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Serve plain bytes (socket://): no baud rates, DTR or RTS, so no resets.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Start in the boot loader, as if BOOT were held.")
    ] = False,
    pace: Annotated[bool, typer.Option("--pace", help="Send bytes at the speed of the line's baud rate.")] = False,
    drop: Annotated[float, typer.Option(min=0, max=1, help="Probability that a byte is lost.")] = 0.0,
    seed: Annotated[int, typer.Option(help="With --drop: a different seed drops different bytes.")] = 0,
    pull_at: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            metavar="PERCENT",
            help="Unplug the board when this percentage of the flash size is written.",
        ),
    ] = None,
    bad_sector: Annotated[
        list[int],
        typer.Option(min=0, help="A 4 KiB sector of the flash that cannot be changed: 18 is at 18 * 4096. Repeatable."),
    ] = [],  # noqa: B006
    heap: board.Heap = "",
    chip: Annotated[
        str, typer.Option(metavar="NAME", help="Report another chip than the definition's, e.g. esp32s3.")
    ] = "",
    ready_file: Annotated[
        Path | None, typer.Option(help="A JSON file with the URL, written once the port is served.")
    ] = None,
    as_json: Json = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Switch a board on and serve its serial line, until Ctrl-C or --pull-at."""
    if ready_file:
        paths.check_place(ready_file)
    made = VirtualBoard(board.folder(data, name))
    faults = LineFaults(drop=drop, seed=seed, pull_at=pull_at, bad_sectors=frozenset(bad_sector), chip=chip)
    start = Start.DOWNLOAD if download else Start.RUN
    conditions = Conditions(heap=board.heap_size(heap))
    with line_server.serve(
        made, port=port, raw=raw, pace=pace, faults=faults, start=start, conditions=conditions
    ) as served:
        ready = json.dumps({"url": served.url, "board": name, "definition": made.definition, "mac": made.mac})
        if ready_file:
            paths.write_private(ready_file, ready.encode())
        if as_json:
            print(ready, flush=True)
        else:
            _welcome(name, served.url, boards.load(made.definition), raw=raw)
        served.wait_pulled_out()
    raise BenchError(f"board {name} was unplugged: serve it again to plug it in")


def _welcome(name: str, url: str, definition: boards.BoardDefinition, *, raw: bool) -> None:
    reset = " --before no-reset --after no-reset" if raw else ""
    tables.console.print(
        f"board [bold]{tables.shown(name)}[/bold] is on [bold]{url}[/bold]\n"
        f"esptool --port {url}{reset} flash-id\n"
        f"esptool --port {url}{reset} write-flash {definition.image_offset:#x} {definition.image.file}\n"
        f"mpremote connect {url} exec 'print(1 + 1)'\n"
        "Ctrl-C ends it."
    )
