"""Identification of the board on a port, by its MicroPython or else its chip's ROM loader. It runs on afterwards."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import boards
from bench.flash import chip_writer, inspection
from bench.flash.chip_writer import ChipWriter
from bench.flash.progress import ProgressReporter
from bench.serial.connection import SerialConnection
from bench.serial.raw_repl import RawRepl, ReplError

_QUICK_S = 3.0  # one that boots answers after a second
_UNKNOWN = "esp32_generic"
_VERSION = """
try:
 from firstboot import __version__ as _v
except Exception:
 _v=''
import json
print(json.dumps(_v))
"""


@dataclass(frozen=True, kw_only=True)
class ProbedBoard:
    """A board by its own report: MAC in 12 hex digits, flash in MB.

    `micropython` and `firmware` are empty if it runs no MicroPython, or not this firmware.
    """

    port: str
    mac: str
    chip: str
    flash_mb: int
    micropython: str = ""
    firmware: str = ""


def probe(port: str, reporter: ProgressReporter) -> ProbedBoard:
    """Identify the board on a port, and restart it.

    Args:
        port: A device's path, or a URL.
        reporter: Asked for the user's help, if the port cannot reset the board.

    Returns:
        The board's own report.

    Raises:
        PortError: The port cannot be opened, or is gone.
        EsptoolError: No chip answers.
        BenchError: The user's help is needed, and the reporter is `Unattended`.
    """
    with SerialConnection(port) as line:
        try:
            repl = RawRepl(line.port, timeout_s=_QUICK_S)
            found = inspection.inspect(repl, [])
            version = str(repl.run_json(_VERSION))
            repl.reset()
        except ReplError:
            return _by_loader(line, reporter)
        micropython = ".".join(map(str, found.micropython))
        if not found.chip:  # not every MicroPython reports it
            return dataclasses.replace(_by_loader(line, reporter), micropython=micropython, firmware=version)
    return ProbedBoard(
        port=port,
        mac=found.mac,
        chip=found.chip,
        flash_mb=found.flash_size >> 20,
        micropython=micropython,
        firmware=version,
    )


def definitions_for(found: ProbedBoard) -> list[str]:
    """Return the names of the definitions in boards/ that fit a board: the same chip, and enough flash for them.

    Args:
        found: The board.

    Raises:
        BenchError: A definition in boards/ is invalid.
    """
    fits = []
    for name in boards.names():
        board = boards.load(name)
        if board.chip == found.chip and board.flash_size >> 20 <= found.flash_mb:
            fits.append(name)
    return fits


def _by_loader(line: SerialConnection, reporter: ProgressReporter) -> ProbedBoard:
    any_chip = dataclasses.replace(boards.load(_UNKNOWN), chip="auto")
    with TemporaryDirectory(prefix="bench-probe-") as folder:
        with ChipWriter(line, board=any_chip, reporter=reporter, folder=Path(folder)) as chip:
            mac, kind, flash_mb = chip.identify()
        chip_writer.leave(line, any_chip.after, reporter)
    return ProbedBoard(port=line.name, mac=mac, chip=kind, flash_mb=flash_mb)
