"""`bench monitor`: what a board on a serial line says."""

import json
import time
from collections.abc import Iterator
from threading import Thread
from typing import Annotated, Any

import typer

from bench.cli.options import keyboard
from bench.cli.options.common import Port
from bench.cli.render import event_lines
from bench.dut.board import Board
from bench.dut.recorder import EventRecorder
from bench.dut.serial import PortBoard
from bench.errors import BenchError
from bench.flash import inventory
from bench.serial import ports

_POLL_S = 0.2
_ANSWER_S = 2.0


def monitor(
    port: Port = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Every line as JSON, those that are no events as well.")
    ] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Start the board anew first.")] = False,
    until: Annotated[str, typer.Option(help="End after this event, e.g. connected.")] = "",
    timeout: Annotated[
        float, typer.Option(min=0, help="End after so many seconds, in vain if --until waits. 0: never.")
    ] = 0,
    baud: Annotated[int, typer.Option(min=1, help="The speed of the board's console.")] = ports.BAUD,
) -> None:
    """Show what a board says, its events in words, until Ctrl-C or --until; also across resets and pulled cables.

    Lines that are typed go to the board. When the input ends, and nothing else says until when to watch, what the
    board says in the two seconds after that is shown, too.
    """
    name = inventory.choose(port)
    recorder = EventRecorder(name, history=0)  # it may run for months
    with PortBoard(name, baud=baud, reset=False, recorder=recorder) as board:
        if reset:
            board.reset()
        typing = keyboard.forward(board.say) if keyboard.is_there() else None
        for event in _events(board, timeout, None if until or timeout else typing):
            if as_json:
                print(json.dumps(event), flush=True)
            else:
                event_lines.show(event)
            if until and event["event"] == until:
                return
    if until:
        raise BenchError(f"{name}: no event {until} within {timeout:g} s")


def _events(board: Board, timeout_s: float, typing: Thread | None) -> Iterator[dict[str, Any]]:
    """What comes until the time is over, or a while after nobody types any more."""
    end = time.monotonic() + timeout_s if timeout_s else None
    while end is None or time.monotonic() < end:
        yield from board.follow(_POLL_S)
        if end is None and typing and not typing.is_alive():
            end = time.monotonic() + _ANSWER_S
