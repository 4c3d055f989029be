"""`bench board`: virtual boards."""

import codecs
import os
import re
import time
from pathlib import Path
from typing import Annotated

import typer

from bench import boards
from bench.cli.options import board_setup, keyboard
from bench.cli.options.board_setup import BoardOptions
from bench.cli.options.common import BOARD_HELP
from bench.cli.render import event_lines, tables
from bench.cli.render.help import App
from bench.cli.render.tables import DEFAULT_DATA, Data
from bench.errors import BenchError, UsageError
from bench.flash.tracebacks import Tracebacks
from bench.virtual.board import VirtualBoard, mac_address
from bench.virtual.environment import CHIP_HEAP, Conditions, Cut

app = App(
    help="Virtual boards: an ESP32's flash in a file, booted on this machine.", epilog="Example: bench board new board1"
)

_POLL_S = 0.05
_HEAP = re.compile(r"[1-9][0-9]{0,6}k")
Heap = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help=f"MicroPython's heap: {CHIP_HEAP} for one like a chip's, or a size, e.g. 256k.",
        show_default="some 2 MB",
    ),
]
_ANSWER_S = 2.0


def folder(data: Path, name: str) -> Path:
    """Return the folder of a virtual board. Raises UsageError for a name that no folder can have."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise UsageError("a board's name must be usable as a folder name")
    return data / "boards" / name


def heap_size(text: str) -> str:
    """Return the heap of an option, as `Conditions` has it. Raises UsageError for what is not one."""
    if text not in ("", CHIP_HEAP) and not _HEAP.fullmatch(text):
        raise UsageError(f"--heap must be {CHIP_HEAP} or a number of KiB with a k, e.g. 256k")
    return text


@app.command(epilog="Example: bench board new board1 --transport http --tls --credentials X509_CERTIFICATE")
@board_setup.with_board_options
def new(
    chosen: BoardOptions,
    context: typer.Context,
    name: str,
    board: Annotated[str, typer.Option(metavar="NAME", help=BOARD_HELP)] = "esp32_generic",
    mac: Annotated[str, typer.Option(help="12 hex digits. Default: random ones.")] = "",
    blank: Annotated[bool, typer.Option("--blank", help="Leave the flash empty, as on a new chip.")] = False,
) -> None:
    """Make a virtual board, ready for its first boot: partition table, file system, firmware, settings."""
    data = chosen.where.data
    place = folder(data, name)
    mac = mac_address(mac)
    called, shown_place = tables.shown(name), tables.shown(place)
    if blank:
        _refuse_settings(context)
        made = VirtualBoard.create(place, board=board, mac=mac, blank=True)
        tables.console.print(f"made [bold]{called}[/bold] (MAC {made.mac}), blank, in {shown_place}")
        return
    prepared = chosen.prepare()
    files = prepared.files(boards.load(board), mac)
    made = VirtualBoard.create(place, board=board, mac=mac, settings=files.pop("settings.json"), files=files)
    tables.console.print(
        f"made [bold]{called}[/bold] (MAC {made.mac}) for {tables.shown(prepared.address)} in {shown_place}\n"
        f"boot it: bench board boot {called}{tables.data_option(data)}"
    )


def _refuse_settings(context: typer.Context) -> None:
    own = {"name", "board", "mac", "blank", "data"}
    for parameter in context.command.params:
        if parameter.name in own or parameter.name is None:
            continue
        source = context.get_parameter_source(parameter.name)
        if source and source.name in ("COMMANDLINE", "PROMPT"):
            raise UsageError(f"{parameter.opts[0]} sets up a board, and --blank leaves it empty: leave one out")


@app.command(epilog="Example: bench board boot board1 --until telemetry")
def boot(
    name: str,
    until: Annotated[str, typer.Option(metavar="EVENT", help="Power off after this event, e.g. telemetry.")] = "",
    cut_at: Annotated[
        int | None, typer.Option(min=0, help="Cut the power before this write to the flash; 0 is the first.")
    ] = None,
    torn: Annotated[bool, typer.Option("--torn", help="With --cut-at: in the middle of that write.")] = False,
    wifi_failures: Annotated[int, typer.Option(min=0, help="Number of Wi-Fi joins that fail first.")] = 0,
    heap: Heap = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON, and other lines as text.")] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Switch a board on and show its events, until Ctrl-C, a power cut, or --until.

    Typed lines go to its serial line, e.g. firstboot help.
    """
    if torn and cut_at is None:
        raise UsageError("--torn needs --cut-at: name the write, e.g. --cut-at 0 --torn")
    cut = None if cut_at is None else Cut(at=cut_at, torn=torn)
    conditions = Conditions(cut=cut, wifi_failures=wifi_failures, heap=heap_size(heap))
    made = VirtualBoard(folder(data, name))
    with made.power_on(conditions) as power:
        if keyboard.is_available():
            keyboard.forward(made.send_line)
        for event in map(Tracebacks().translate, power.follow()):
            if as_json:
                if event["event"] == "console":
                    tables.write(f"{event['text']}\n")
                else:
                    tables.print_json(event, indent=None)
            else:
                event_lines.show(event)
            if event["event"] == until:
                return
    if cut is None:
        raise BenchError("the board stopped: see the last lines of its console")
    tables.console.print("[red]power lost[/red]")


@app.command(epilog="Example: echo firstboot status | bench board console board1")
def console(name: str, data: Data = DEFAULT_DATA) -> None:
    """Connect to the console of a board that is on: type lines and see its output, until Ctrl-C.

    After the end of the input, the output of two more seconds is shown.
    """
    made = VirtualBoard(folder(data, name))
    if not made.is_on():
        raise BenchError(f"board {name} is off: bench board boot {name} switches it on")
    with made.console.open("rb") as output:
        output.seek(0, os.SEEK_END)
        typing = keyboard.forward(made.send_line)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        end = None
        while made.is_on() and (end is None or time.monotonic() < end):
            tables.write(decoder.decode(output.read()))
            time.sleep(_POLL_S)
            if end is None and not typing.is_alive():
                end = time.monotonic() + _ANSWER_S
