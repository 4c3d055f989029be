"""Measurements of the device package on virtual boards: time, heap, writes to the flash, size. All on loopback."""

import statistics
from collections import Counter
from collections.abc import Callable

from bench.errors import BenchError
from bench.flash import firmware
from benchmarks import fit, processes
from benchmarks.boots import Bench, Boot, boot
from benchmarks.report import Aim, Figure, Section

BOARDS = 20
_KIB = 1024


def measure(step: Callable[[str], None]) -> list[Section]:
    """Run all measurements of the device.

    Args:
        step: Called with the name of each step before it.

    Returns:
        Tables of boot times, heaps, writes to the flash, and sizes.

    Raises:
        BenchError: The firmware does not compile, the server does not start, or a boot went wrong.
    """
    step("compiling the firmware")
    package = _package()
    with processes.data_folder() as data, processes.real_server(data) as server:
        bench = Bench(data, server)
        boot(bench.board())  # the first one compiles the ROM, and finds the server cold
        first, later = [], []
        for number in range(BOARDS):
            step(f"board {number + 1} of {BOARDS}: first boot, then a later one")
            board = bench.board()
            first.append(boot(board))
            later.append(boot(board))
            if "provisioned" not in first[-1].ms or "provisioning" in later[-1].ms:
                raise BenchError("a board did not provision on its first boot, or did so again on a later one")
        cells = fit.measure(bench, step)
    return [_times(first, later), *cells, _flash(first, later), *package]


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
    largest = sorted(modules, key=lambda path: -modules[path])
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
            title="Its modules",
            rows={"modules": [Figure(name=path, value=modules[path], unit="bytes") for path in largest]},
        ),
    ]
