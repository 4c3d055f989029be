"""How long a first boot takes, phase by phase (docs/measuring.md).

A round is a blank board that is switched on, until the server has acknowledged its first telemetry. All its moments
are milliseconds since power-on, by this machine's monotonic clock, at which its lines were read.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from bench import boards
from bench.contract.events import FOLLOW_UPS, MILESTONES, completes_boot, needs_person
from bench.errors import BenchError
from bench.flash import firmware
from bench.load.boards import DEFINITION, Files, macs, words
from bench.serial.connection import SerialConnection
from bench.serial.raw_repl import RawRepl
from bench.virtual import line_server
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard

_MS = 1000
_REPL_S = 10.0
_LAST_WORDS_S = 0.2
_HELD_S = 0.1
_WIPE = "import os\nfor _f in os.listdir('/'):\n if _f.startswith('vault.'):os.remove('/'+_f)"
_SETTINGS = "import json\nwith open('/settings.json') as _f:print(json.dumps(json.load(_f)))"


class Powered(Protocol):
    """A board that was switched on just now: a power cycle, or a serial line."""

    started_s: float
    """When that was, by `time.monotonic`."""

    def follow(self, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Its events as they come."""


Rounds = Callable[[int], AbstractContextManager[Powered]]
"""Makes the blank board of a round, counted from 0, and switches it on."""


@dataclass(kw_only=True)
class Round:
    """What became of a board. `error` is empty if it is online."""

    error: str = ""
    attempts: int = 1
    at_ms: dict[str, float] = field(default_factory=dict)
    own_ms: dict[str, int] = field(default_factory=dict)
    """By the board's own clock, which begins with its firmware."""
    said: dict[str, Any] = field(default_factory=dict)
    """The fields of its `boot` and `provisioning` events, and its name."""


def watch(power: Powered, timeout_s: float) -> Round:
    """Follow a round to its end."""
    found = Round()
    last, since_s = "nothing", 0.0
    for event in power.follow(timeout_s):
        name, now = event["event"], time.monotonic()
        if name != "boot" and "boot" not in found.at_ms:
            continue  # the chip's own lines, or what a line still had of before
        since_s = since_s or power.started_s  # which is another one after a reset of the board's own
        if name not in FOLLOW_UPS:
            last = words(event)
        if name in MILESTONES and name not in found.at_ms:
            found.at_ms[name] = (now - since_s) * _MS
            found.own_ms[name] = event["ms"]
        if name in ("boot", "provisioning"):
            found.said |= event
        if "name" in event:
            found.said["name"] = event["name"]
        if name == "retry":
            found.attempts += 1
        if completes_boot(event):
            return found
        if needs_person(event):
            break
    found.error = f"not online, last heard: {last}"
    return found


def phases_ms(moments: dict[str, float]) -> dict[str, float]:
    """How long each phase took, by the step that ends it."""
    found, before = {}, 0.0
    for step in MILESTONES:
        if step in moments:
            found[step] = moments[step] - before
            before = moments[step]
    return found


def on_unix(folder: Path, files: Files, *, rounds: int, seed: int) -> Rounds:
    """Virtual boards, a new one each round. Power-on is the start of the process that is its CPU."""
    addresses = macs(rounds, seed=seed)

    @contextmanager
    def switch_on(number: int) -> Iterator[Powered]:
        with _blank(folder, addresses[number]) as board:
            board.install(_all(files, board))
            with board.power_on() as power:
                yield power

    return switch_on


def on_line(folder: Path, files: Files, *, rounds: int, seed: int) -> Rounds:
    """Virtual boards behind RFC 2217, a new one each round. Power-on is the end of a reset pulse over that line."""
    addresses = macs(rounds, seed=seed)

    @contextmanager
    def switch_on(number: int) -> Iterator[Powered]:
        with _blank(folder, addresses[number]) as board, line_server.serve(board, start=Start.HELD) as served:
            board.install(_all(files, board))
            with SerialConnection(served.url) as power, _let_go(power):
                yield power

    return switch_on


@contextmanager
def _blank(folder: Path, mac: str) -> Iterator[VirtualBoard]:
    """A board with nothing in its flash, for one round."""
    yield VirtualBoard.create(folder / mac, board=DEFINITION, mac=mac, blank=True)
    shutil.rmtree(folder / mac)


def _all(files: Files, board: VirtualBoard) -> dict[str, bytes]:
    return {**firmware.files(), **files(boards.load(board.definition), board.mac)}


class OnPort:
    """A board on a serial port that has its firmware and settings, the same one each round. A context manager.

    Between rounds its credentials are wiped, and `delete` deletes its device, if there is one, on its server.
    """

    def __init__(self, port: str, delete: Callable[[str], None], *, timeout_s: float) -> None:
        """Raises BenchError if there is no board that knows its name within `timeout_s`."""
        self._delete = delete
        with ExitStack() as opened:
            self._line = opened.enter_context(SerialConnection(port))
            with _let_go(self._line):
                self._name = watch(self._line, timeout_s).said.get("name", "")
            if not self._name:
                raise BenchError(f"{port}: no board says who it is there: bench flash --port {port} makes it one")
            with RawRepl(self._line.port, timeout_s=_REPL_S) as repl:
                self.settings: dict[str, Any] = repl.run_json(_SETTINGS)
            self._held = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @contextmanager
    def switch_on(self, _number: int) -> Iterator[Powered]:
        """A round. Power-on is the end of the reset pulse, or the order to restart where the line has no RTS."""
        with RawRepl(self._line.port, timeout_s=_REPL_S) as repl:
            repl.run(_WIPE)
        self._delete(self._name)
        for _ in self._line.follow(_LAST_WORDS_S):
            pass
        with _let_go(self._line):
            yield self._line


@contextmanager
def _let_go(board: SerialConnection) -> Iterator[None]:
    """Reset a board. Over a network that ends with an answer, which is not waited for: the board says something first.

    Raises BenchError.
    """
    if not board.hold_in_reset():
        board.reset()
        yield
        return
    time.sleep(_HELD_S)
    with ThreadPoolExecutor(1) as other:
        released = other.submit(board.release_from_reset)
        yield
        released.result()
