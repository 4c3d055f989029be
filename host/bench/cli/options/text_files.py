"""Text that commands read from files or from standard input, with a warning where its encoding was guessed."""

from pathlib import Path

from bench.cli.render import tables
from bench.input_files import decoding


def read(path: Path) -> str:
    """Return the text of a file, or of standard input (`decoding.STDIN`), with its lines ended by line feeds alone.

    Raises:
        UsageError: It is not text.
        OSError: The file cannot be read.
    """
    found = decoding.read(path)
    if found.notice:
        tables.warn(found.notice)
    return found.content


def read_value(path: Path) -> str:
    """Return a value, which may be a secret, from a file or from standard input, without the line ends after it."""
    return read(path).rstrip("\n")
