"""`bench board`: virtual boards."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench import boards
from bench.cli.options import board_setup, keyboard
from bench.cli.options.board_setup import Setup
from bench.cli.render import event_lines, tables
from bench.cli.render.tables import DEFAULT_DATA, Data
from bench.errors import BenchError, UsageError
from bench.virtual.board import VirtualBoard, mac_address
from bench.virtual.environment import Conditions, Cut

app = typer.Typer(help="Virtual boards: an ESP32's flash in a file, booted on this machine.", no_args_is_help=True)

_POLL_S = 0.05
_ANSWER_S = 2.0


def folder(data: Path, name: str) -> Path:
    """Where the board of this name lives."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise UsageError("a board's name is one word that can name a folder")
    return data / "boards" / name


@app.command(epilog="Example: bench board new board1 --transport http --tls --credentials X509_CERTIFICATE")
@board_setup.sets_up
def new(
    chosen: Setup,
    context: typer.Context,
    name: str,
    board: Annotated[str, typer.Option(help="The definition in boards/.")] = "esp32_generic",
    mac: Annotated[str, typer.Option(help="12 hex digits; random if not given.")] = "",
    blank: Annotated[bool, typer.Option("--blank", help="With nothing in its flash, as a chip comes.")] = False,
) -> None:
    """Make a virtual board as it is before its first boot: partition table, file system, firmware, settings."""
    data = chosen.where.data
    place = folder(data, name)
    mac = mac_address(mac)
    if blank:
        _refuse_settings(context)
        made = VirtualBoard.create(place, board=board, mac=mac, blank=True)
        tables.console.print(f"made [bold]{name}[/bold] (MAC {made.mac}), blank, in {escape(str(place))}")
        return
    prepared = chosen.prepare()
    files = prepared.files(boards.load(board), mac)
    made = VirtualBoard.create(place, board=board, mac=mac, settings=files.pop("settings.json"), files=files)
    tables.console.print(
        f"made [bold]{name}[/bold] (MAC {made.mac}) for {prepared.address} in {escape(str(place))}\n"
        f"boot it: bench board boot {name}{tables.data_option(data)}"
    )


def _refuse_settings(context: typer.Context) -> None:
    own = {"name", "board", "mac", "blank", "data"}
    for parameter in context.command.params:
        if parameter.name in own or parameter.name is None:
            continue
        source = context.get_parameter_source(parameter.name)
        if source and source.name in ("COMMANDLINE", "PROMPT"):
            raise UsageError(f"{parameter.opts[0]} is for a board with settings, and --blank for one without: choose")


@app.command(epilog="Example: bench board boot board1 --until telemetry")
def boot(
    name: str,
    until: Annotated[str, typer.Option(help="Power off after this event, e.g. telemetry.")] = "",
    cut_at: Annotated[
        int | None, typer.Option(min=0, help="Cut the power before this write to the flash, counted from 0.")
    ] = None,
    torn: Annotated[bool, typer.Option("--torn", help="With --cut-at: in the middle of that write.")] = False,
    wifi_failures: Annotated[int, typer.Option(min=0, help="How many Wi-Fi joins fail first.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the board's own lines.")] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Switch a board on and show what it says, until Ctrl-C, a power cut, or --until.

    Lines that are typed meanwhile go to its serial line, e.g. firstboot help.
    """
    if torn and cut_at is None:
        raise UsageError("--torn says how --cut-at cuts: name the write, e.g. --cut-at 0 --torn")
    cut = None if cut_at is None else Cut(at=cut_at, torn=torn)
    conditions = Conditions(cut=cut, wifi_failures=wifi_failures)
    made = VirtualBoard(folder(data, name))
    with made.power_on(conditions) as power:
        if keyboard.is_there():
            keyboard.forward(made.say)
        for event in power.follow():
            if as_json:
                print(event["text"] if event["event"] == "console" else json.dumps(event), flush=True)
            else:
                event_lines.show(event)
            if event["event"] == until:
                return
    if cut is None:
        raise BenchError("the board died: what it said last tells why")
    tables.console.print("[red]power lost[/red]")


@app.command(epilog="Example: echo firstboot status | bench board console board1")
def console(name: str, data: Data = DEFAULT_DATA) -> None:
    """Talk to a board that is on: type lines on its serial line and see what it says, until Ctrl-C.

    When the input ends, what the board says in the two seconds after that is shown, too.
    """
    made = VirtualBoard(folder(data, name))
    if not made.is_on():
        raise BenchError(f"board {name} is off: bench board boot {name} switches it on")
    with made.console.open("rb") as said:
        said.seek(0, os.SEEK_END)
        typing = keyboard.forward(made.say)
        end = None
        while made.is_on() and (end is None or time.monotonic() < end):
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
            time.sleep(_POLL_S)
            if end is None and not typing.is_alive():
                end = time.monotonic() + _ANSWER_S
