"""Durations of a first boot, phase by phase (docs/measuring.md).

A round lasts from the power-on of a blank board until the server has acknowledged its first telemetry. Its times are
milliseconds since power-on, by this machine's monotonic clock, at which the board's lines were read.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from bench import boards
from bench.contract.events import FOLLOW_UPS, MILESTONES, completes_boot, needs_person
from bench.dut.board import Board
from bench.dut.recorder import EventRecorder
from bench.dut.serial import PortBoard
from bench.dut.served import ServedBoard
from bench.dut.virtual import UnixBoard
from bench.errors import BenchError
from bench.flash import firmware
from bench.load.boards import DEFINITION, Files, macs, words

B = TypeVar("B", bound=Board)

_MS = 1000
_LAST_WORDS_S = 0.2
_WIPE = "import os\nfor _f in os.listdir('/'):\n if _f.startswith('vault.'):os.remove('/'+_f)"
_SETTINGS = "import json\nwith open('/settings.json') as _f:print(json.dumps(json.load(_f)))"


Rounds = Callable[[int], AbstractContextManager[Board]]
"""A function from the number of a round, from 0, to a context with its blank board, which is switched on."""


@dataclass(kw_only=True)
class Round:
    """The outcome of one first boot."""

    error: str = ""
    """The reason why it is not online; empty if it is."""
    attempts: int = 1
    at_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds since power-on at each milestone."""
    own_ms: dict[str, int] = field(default_factory=dict)
    """Milliseconds at each milestone by the board's own clock, which begins with its firmware."""
    reported: dict[str, Any] = field(default_factory=dict)
    """The fields of its `boot` and `provisioning` events, and its name."""


def watch(board: Board, timeout_s: float) -> Round:
    """Follow the first boot of a board that was just switched on.

    Args:
        board: The board.
        timeout_s: Seconds after which the round counts as failed.

    Returns:
        The outcome; it has an `error` if the board was not online in time, or needs a person.

    Raises:
        BenchError: The board can no longer be read.
    """
    found = Round()
    last, since_s = "nothing", 0.0
    for event in board.follow(timeout_s):
        name, now = event["event"], time.monotonic()
        if name != "boot" and "boot" not in found.at_ms:
            continue  # the chip's own lines, or what was still in the line from before
        since_s = since_s or board.started_s  # kept: it changes when the board resets itself
        if name not in FOLLOW_UPS:
            last = words(event)
        if name in MILESTONES and name not in found.at_ms:
            found.at_ms[name] = (now - since_s) * _MS
            found.own_ms[name] = event["ms"]
        if name in ("boot", "provisioning"):
            found.reported |= event
        if "name" in event:
            found.reported["name"] = event["name"]
        if name == "retry":
            found.attempts += 1
        if completes_boot(event):
            return found
        if needs_person(event):
            break
    found.error = f"not online, last heard: {last}"
    return found


def phases_ms(moments: dict[str, float]) -> dict[str, float]:
    """Return the duration of each phase, by the milestone that ends it.

    Args:
        moments: Milliseconds since power-on by milestone, as in `Round.at_ms`.

    Returns:
        Milliseconds, in the order of MILESTONES; a milestone that was not reached has no phase.
    """
    found, before = {}, 0.0
    for step in MILESTONES:
        if step in moments:
            found[step] = moments[step] - before
            before = moments[step]
    return found


def on_unix(folder: Path, files: Files, *, rounds: int, seed: int) -> Rounds:
    """Return rounds of virtual boards, a new one each. Power-on is the start of the process that is its CPU.

    Entering a round raises BenchError if the firmware does not compile or the board cannot be switched on.

    Args:
        folder: The folder of the boards, which is made.
        files: The files of each besides its firmware.
        rounds: The number of rounds.
        seed: Decides the boards' MACs.
    """

    def make(place: Path, mac: str) -> UnixBoard:
        return UnixBoard.create(place, definition=DEFINITION, mac=mac, recorder=EventRecorder(mac, in_background=False))

    return _new_boards(make, UnixBoard.power_on, folder, files, macs(rounds, seed=seed))


def on_line(folder: Path, files: Files, *, rounds: int, seed: int) -> Rounds:
    """Return rounds as `on_unix` does, of boards behind RFC 2217. Power-on is the end of a reset pulse over it."""

    def make(place: Path, mac: str) -> ServedBoard:
        return ServedBoard(place, definition=DEFINITION, mac=mac)

    return _new_boards(make, ServedBoard.reset, folder, files, macs(rounds, seed=seed))


def _new_boards(
    make: Callable[[Path, str], B], start: Callable[[B], None], folder: Path, files: Files, addresses: list[str]
) -> Rounds:
    @contextmanager
    def switch_on(number: int) -> Iterator[Board]:
        mac = addresses[number]
        with make(folder / mac, mac) as board:
            board.install({**firmware.files(), **files(boards.load(DEFINITION), mac)})
            start(board)
            yield board
        shutil.rmtree(folder / mac)

    return switch_on


class OnPort:
    """A board on a serial port that has its firmware and settings, the same one each round. A context manager.

    Between rounds its credentials are wiped.
    """

    def __init__(self, port: str, delete: Callable[[str], None], *, timeout_s: float) -> None:
        """Reset the board, and read its name and settings.

        Args:
            port: A device, or a URL.
            delete: Deletes the device of this name on the board's server, if it is there.
            timeout_s: Seconds that the board may take to log its name.

        Raises:
            BenchError: It did not log its name, or its settings cannot be read.
            PortError: The port cannot be opened.
        """
        self._delete = delete
        with ExitStack() as opened:
            self._board = opened.enter_context(PortBoard(port, reset=False))
            self._board.reset()
            self._name = watch(self._board, timeout_s).reported.get("name", "")
            if not self._name:
                raise BenchError(f"{port}: no board reported its name: bench flash --port {port} installs the firmware")
            with self._board.repl() as repl:
                self.settings: dict[str, Any] = repl.run_json(_SETTINGS)
            self._held = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @contextmanager
    def switch_on(self, _number: int) -> Iterator[Board]:
        """Wipe the board's credentials, delete its device on the server, and restart the board for a round.

        Power-on is the end of the reset pulse, or the restart where the line has no RTS.

        Raises:
            BenchError: The board does not answer, or its device cannot be deleted.
        """
        self._board.exec(_WIPE)
        self._delete(self._name)
        for _ in self._board.follow(_LAST_WORDS_S):
            pass
        self._board.reset()
        yield self._board
