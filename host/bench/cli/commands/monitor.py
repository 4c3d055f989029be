"""`bench monitor`: the output of a board on a serial line."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

from bench.cli.options import keyboard
from bench.cli.options.common import Port
from bench.cli.render import event_lines, tables
from bench.dut.board import Board
from bench.dut.recorder import EventRecorder
from bench.dut.serial import PortBoard
from bench.errors import BenchError
from bench.flash import inventory, tracebacks
from bench.flash.tracebacks import Tracebacks
from bench.serial import ports

_POLL_S = 0.2
_ANSWER_S = 2.0


def monitor(
    port: Port = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every line as JSON, also those that are not events.")
    ] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Reset the board first.")] = False,
    until: Annotated[str, typer.Option(metavar="EVENT", help="End after this event, e.g. connected.")] = "",
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="End after this time; with --until, as a failure. 0: never.")
    ] = 0,
    names: Annotated[
        Path | None,
        typer.Option(help="The names.json of the board's firmware, if that is not the firmware of this bench."),
    ] = None,
    baud: Annotated[int, typer.Option(min=1, help="Baud rate of the board's console.")] = ports.BAUD,
) -> None:
    """Show a board's output, with events in words, until Ctrl-C or --until, across resets and unplugged cables.

    Typed lines go to the board. Tracebacks show the names of the firmware's sources. Without --until and --timeout,
    the command ends two seconds after the end of its input.
    """
    name = inventory.choose(port)
    known = tracebacks.read_names(names) if names else None
    reader = Tracebacks(lambda: known) if known is not None else None
    recorder = EventRecorder(name, history=0, tracebacks=reader)  # it may run for months
    with PortBoard(name, baud=baud, reset=False, recorder=recorder) as board:
        if reset:
            board.reset()
        typing = keyboard.forward(board.send_line) if keyboard.is_available() else None
        for event in _events(board, timeout, None if until or timeout else typing):
            if as_json:
                tables.print_json(event, indent=None)
            else:
                event_lines.show(event)
            if until and event["event"] == until:
                return
    if until:
        raise BenchError(f"{name}: no event {until} within {timeout:g} s")


def _events(board: Board, timeout_s: float, typing: Thread | None) -> Iterator[dict[str, Any]]:
    """Yield events until the time is over, or two seconds after the end of the input."""
    end = time.monotonic() + timeout_s if timeout_s else None
    while end is None or time.monotonic() < end:
        yield from board.follow(_POLL_S)
        if end is None and typing and not typing.is_alive():
            end = time.monotonic() + _ANSWER_S
