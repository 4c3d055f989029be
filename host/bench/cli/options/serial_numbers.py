"""Serial numbers as options name them."""

from pathlib import Path

from bench.cli.options import text_files
from bench.flash import serials
from bench.flash.serials import Serials


def read(text: str) -> Serials:
    """Return the serial numbers of an option: the first one of a count, or a CSV file. Raises UsageError."""
    return serials.of_table(text_files.read(Path(text)), text) if serials.is_file(text) else serials.counted(text)
