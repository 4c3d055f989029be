"""The device package on virtual boards: time to provisioned, heap, flash writes, size. All on loopback."""

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.flash import firmware, settings
from bench.targets.virtual import Conditions, PowerCycle, VirtualBoard
from benchmarks import processes
from benchmarks.processes import Endpoint
from benchmarks.report import Aim, Figure, Section

BOARDS = 20
HEAP_FROM_KIB, HEAP_TO_KIB, HEAP_STEP_KIB = 32, 512, 4
_HEAP_PROOFS = 3
_PATIENCE_S = 20.0
_KIB = 1024
_LARGEST_MODULES = 8
# Whatever goes wrong has to show at once: no long wait hides an attempt that failed.
_IMPATIENT = {"base_ms": 1, "cap_ms": 1, "long_ms": 1000}
# Events after which a boot is no plain one any more.
_TROUBLE = frozenset(
    ("crash", "error", "link_failed", "offline", "retry", "not_found", "rejected", "vault_slot_damaged")
)


def measure(step: Callable[[str], None]) -> list[Section]:
    """All measurements of the device. `step` is told what comes next. Raises BenchError if a boot went wrong."""
    step("compiling the firmware")
    package = _package()
    with processes.data_folder() as data, processes.real_server(data) as server:
        bench = _Bench(data, server)
        boot(bench.board())  # the first one compiles the ROM, and finds the server cold
        first, later = [], []
        for number in range(BOARDS):
            step(f"board {number + 1} of {BOARDS}: first boot, then a later one")
            board = bench.board()
            first.append(boot(board))
            later.append(boot(board))
            if "provisioned" not in first[-1].ms or "provisioning" in later[-1].ms:
                raise BenchError("a board did not provision on its first boot, or did so again on a later one")
        heaps = _heaps(bench, step)
    return [_times(first, later), heaps, _flash(first, later), *package]


class BootFailed(BenchError):
    """A board did not get to its first telemetry without trouble. `lines`: all it said."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        super().__init__(f"a board did not get to its first telemetry; it said {[each['event'] for each in events]}")
        self.lines = [each["text"] if each["event"] == "console" else json.dumps(each) for each in events]


@dataclass(kw_only=True)
class Boot:
    """One power cycle up to its first telemetry."""

    ms: dict[str, int] = field(default_factory=dict)
    """The board's own clock at each event, in ms since its firmware began to run."""
    wall_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds from the start of its process until the bench saw the event."""
    writes: list[dict[str, Any]] = field(default_factory=list)
    """The writes to the flash, as PowerCycle has them."""
    micropython: str = ""
    """The version that the board says it runs."""


class _Bench:
    """Makes blank boards for one server."""

    def __init__(self, data: Path, server: Endpoint) -> None:
        self._data = data
        self._server = server
        self._made = 0

    def board(self) -> VirtualBoard:
        self._made += 1
        return VirtualBoard.create(
            self._data / "boards" / f"board{self._made}",
            settings=settings.encode(
                host="127.0.0.1",
                port=self._server.ports["mqtt"],
                key=self._server.key,
                secret=self._server.secret,
                backoff=_IMPATIENT,
            ),
        )


def boot(board: VirtualBoard, conditions: Conditions | None = None) -> Boot:
    """Switch a board on until its first telemetry is acknowledged, then off.

    Raises BootFailed if it did not get there at once: MicroPython ended, or an event told of an error.
    """
    found = Boot()
    with board.power_on(conditions) as power:
        start = time.perf_counter()  # the process was started a moment ago
        _follow(power, found, start)
    found.writes = power.writes
    return found


def _follow(power: PowerCycle, found: Boot, start: float) -> None:
    for event in power.follow(_PATIENCE_S):
        name = event["event"]
        if name == "console":
            continue
        found.ms.setdefault(name, event["ms"])
        found.wall_ms.setdefault(name, (time.perf_counter() - start) * 1000)
        if name == "boot":
            found.micropython = event["micropython"]
        if name == "telemetry":
            return
        if name in _TROUBLE:
            break
    raise BootFailed(power.events)


def _times(first: list[Boot], later: list[Boot]) -> Section:
    section = Section(name="boot", title=f"Boot on the unix port, median of {BOARDS} boards", matrix=True)
    section.note = f"MicroPython {first[0].micropython}; the server is on loopback, and the radio is up at once"
    aim = Aim(limit=300)
    for label, boots, event, each_aim in (
        ("first boot to provisioned", first, "provisioned", aim),
        ("first boot to first telemetry", first, "telemetry", None),
        ("later boot to first telemetry", later, "telemetry", None),
    ):
        walls = [each.wall_ms[event] for each in boots]
        section.rows[label] = [
            Figure(name="from process start", value=statistics.median(walls), unit="ms", aim=each_aim),
            Figure(name="slowest", value=max(walls), unit="ms"),
            Figure(name="board's own clock", value=statistics.median(each.ms[event] for each in boots), unit="ms"),
        ]
    return section


def _heaps(bench: _Bench, step: Callable[[str], None]) -> Section:
    """Bisect, then prove: one boot in a heap that is just too small may have been lucky."""
    works, fails, why = HEAP_TO_KIB, HEAP_FROM_KIB - HEAP_STEP_KIB, ""
    if _shortage(bench, works, step):
        raise BenchError(f"no first boot even with a heap of {works} KiB")
    while works - fails > HEAP_STEP_KIB:
        middle = fails + (works - fails) // 2 // HEAP_STEP_KIB * HEAP_STEP_KIB
        if shortage := _shortage(bench, middle, step):
            fails, why = middle, shortage
        else:
            works = middle
    while shortages := [found for _ in range(_HEAP_PROOFS) if (found := _shortage(bench, works, step))]:
        why = shortages[0]
        works += HEAP_STEP_KIB
    smallest = Figure(name="smallest heap of a first boot", value=works, unit="KiB", aim=Aim(limit=128))
    return Section(
        name="heap",
        title="Heap on the unix port (64-bit pointers)",
        note=f"With {HEAP_STEP_KIB} KiB less: {why}" if why else "",
        rows={"heap": [smallest]},
    )


def _shortage(bench: _Bench, kib: int, step: Callable[[str], None]) -> str:
    """What a first boot with this heap has no memory for; nothing if it has enough."""
    step(f"first boot with a heap of {kib} KiB")
    try:
        boot(bench.board(), Conditions(heap=f"{kib}k"))
    except BootFailed as failure:
        for at, line in enumerate(failure.lines):
            if "MemoryError" in line:
                place = failure.lines[at - 1].strip() if at else ""
                return f"{line}, {place}" if place.startswith("File ") else line
        raise  # it failed, but not for want of memory
    return ""


def _flash(first: list[Boot], later: list[Boot]) -> Section:
    section = Section(
        name="flash", title=f"Writes to the flash up to the first telemetry, most of {BOARDS} boards", matrix=True
    )
    for label, boots, aim in (("first boot", first, None), ("later boot", later, Aim(limit=0))):
        counts = [Counter(write["kind"] for write in each.writes) for each in boots]
        programmed = [sum(write["bytes"] for write in each.writes if write["kind"] == "program") for each in boots]
        section.rows[label] = [
            Figure(name="operations", value=max(map(Counter.total, counts)), unit="count", aim=aim),
            Figure(name="erases", value=max(each["erase"] for each in counts), unit="count (4 KiB each)"),
            Figure(name="programs", value=max(each["program"] for each in counts), unit="count"),
            Figure(name="programmed", value=max(programmed), unit="bytes"),
        ]
    return section


def _package() -> list[Section]:
    sizes = {path: len(content) for path, content in firmware.files().items()}
    modules = {path: size for path, size in sizes.items() if path.endswith(".mpy")}
    largest = sorted(modules, key=lambda path: -modules[path])[:_LARGEST_MODULES]
    return [
        Section(
            name="package",
            title="Size of the firmware package",
            rows={
                "package": [
                    Figure(name=".mpy", value=sum(modules.values()), unit="bytes", aim=Aim(limit=48 * _KIB)),
                    Figure(name=".mpy, boot.py and main.py", value=sum(sizes.values()), unit="bytes"),
                    Figure(name="modules", value=len(modules), unit="count"),
                ]
            },
        ),
        Section(
            name="modules",
            title="Its largest modules",
            rows={"modules": [Figure(name=path, value=modules[path], unit="bytes") for path in largest]},
        ),
    ]
