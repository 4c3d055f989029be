"""`bench read` and `bench erase`: read or erase the flash of a board."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bench import boards, paths
from bench.boards import BoardDefinition
from bench.cli.options import common, keyboard
from bench.cli.options.common import After, AfterOption, Baud, Before, BeforeOption, BoardName, Port
from bench.cli.render import tables
from bench.cli.render.progress import ProgressBars
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.flash import chip_writer, inventory
from bench.flash.chip_writer import ChipWriter
from bench.flash.esptool import EsptoolError
from bench.flash.progress import ProgressReporter
from bench.serial.connection import SerialConnection

_FILES = "vfs"


def _number(text: str) -> int:
    """Parse a decimal or hexadecimal number of bytes."""
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise typer.BadParameter(f"not a number of bytes: {text}; write e.g. 32768 or 0x8000")
    return number


def read(
    file: Annotated[Path, typer.Argument(help="The file to write. It will contain credentials.")],
    port: Port = "",
    board: BoardName = "esp32_generic",
    offset: Annotated[
        int | None, typer.Option(parser=_number, metavar="BYTES", help="Begin of the region to read, e.g. 0x8000.")
    ] = None,
    size: Annotated[int | None, typer.Option(parser=_number, metavar="BYTES", help="Size of that region.")] = None,
    partition: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Only this partition of the definition, e.g. vfs.", show_default="the whole flash"
        ),
    ] = "",
    baud: Baud = 0,
    before: BeforeOption = None,
    after: AfterOption = After.HARD_RESET,
    force: common.Force = False,
    as_json: Json = False,
) -> None:
    """Read the flash of a board, or a part of it, into a file, and restart the board."""
    definition = boards.load(board)
    if partition and (offset is not None or size is not None):
        raise UsageError("--partition and --offset/--size exclude each other: leave one out")
    if (offset is None) != (size is None):
        raise UsageError("--offset and --size go together")
    if partition:
        place = definition.partition(partition)
        offset, size = place.offset, place.size
    if file.exists() and not force:
        raise UsageError(f"{file} exists already: name another file, or replace it with --force")
    if file.is_dir() or not file.parent.is_dir():
        raise UsageError(f"{file}: not a file in an existing folder")
    line = inventory.choose(port, chip=definition.chip)
    with _in_loader(line, definition, baud=baud, before=before, after=after, as_json=as_json) as (chip, reporter):
        reporter.phase("read")
        content = chip.read(offset or 0, size)
        paths.write_private(file, content)
    facts = {"file": str(file), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    tables.facts(facts, as_json=as_json)


def erase(
    port: Port = "",
    board: BoardName = "esp32_generic",
    partition: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Only this partition of the definition, e.g. vfs.", show_default="the whole flash"
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    baud: Baud = 0,
    before: BeforeOption = None,
    after: AfterOption = After.HARD_RESET,
    as_json: Json = False,
) -> None:
    """Erase the flash of a board, or one partition, with the credentials in it, and restart the board."""
    definition = boards.load(board)
    place = definition.partition(partition) if partition else None
    what = f"partition {partition}" if partition else "the whole flash"
    line = inventory.choose(port, chip=definition.chip)
    if not yes:
        keyboard.confirm(f"Erase {what} of the board on {line}, with {_lost(partition)}?", "nothing was erased")
    with _in_loader(line, definition, baud=baud, before=before, after=after, as_json=as_json) as (chip, reporter):
        reporter.phase("erase")
        if place:
            chip.erase(place.offset, place.size)
        else:
            chip.erase()
    if as_json:
        tables.facts({"port": line, "erased": partition or "all"}, as_json=True)
    else:
        tables.echo(f"erased {what}")


def _lost(partition: str) -> str:
    """Return what is lost; the credentials are in the file system."""
    if not partition:
        return "MicroPython, the firmware, its settings and the board's credentials"
    return "the firmware, its settings and the board's credentials" if partition == _FILES else "its content"


@contextmanager
def _in_loader(
    port: str, board: BoardDefinition, *, baud: int, before: Before | None, after: After, as_json: bool
) -> Iterator[tuple[ChipWriter, ProgressReporter]]:
    """Put a board's chip into its loader; restart the board at the end of the block, in any case."""
    with ProgressBars([port], as_json=as_json) as shown, TemporaryDirectory(prefix="bench-chip-") as folder:
        bar = shown.bar(port)
        try:
            with (
                SerialConnection(port) as line,
                chip_writer.restarting(line, after, bar),
                ChipWriter(
                    line, board=board, reporter=bar, folder=Path(folder), baud=baud, before=before or ""
                ) as chip,
            ):
                yield chip, bar
        except EsptoolError as error:
            raise BenchError(f"{port}: {error}") from error
