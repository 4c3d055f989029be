"""Text in the encodings of editors, spreadsheets and shells: UTF-8, UTF-16, Windows-1252; with any line ends."""

import codecs
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.errors import UsageError

# The longer ones first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32-LE"),
    (codecs.BOM_UTF32_BE, "UTF-32-BE"),
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF16_LE, "UTF-16-LE"),
    (codecs.BOM_UTF16_BE, "UTF-16-BE"),
)
_ENDS = re.compile(r"\r\n?")
# Tab, line feed, form feed, escape, and the end of file of DOS; no other control character is in a text.
_BINARY = re.compile(r"[\x00-\x08\x0b\x0e-\x19\x1c-\x1f]")
_LONGEST_LINE = 64 << 20
STDIN = Path("-")
"""Stands for standard input."""


@dataclass(frozen=True)
class Text:
    """The text of a file, with its lines ended by line feeds alone."""

    content: str = field(repr=False)
    notice: str = ""
    """How it was read, in one line, if its encoding had to be guessed."""


def read(path: Path) -> Text:
    """Return the text of a file, or of standard input (`STDIN`).

    Raises:
        UsageError: As `decode` does.
        OSError: The file cannot be read.
    """
    if path == STDIN:
        return decode(sys.stdin.buffer.read(), "standard input")
    return decode(path.read_bytes(), str(path))


def decode(data: bytes, name: str) -> Text:
    """Return bytes as text: by their byte order mark, else as UTF-8, else as UTF-16 or Windows-1252, with a notice.

    Args:
        data: The content of a file.
        name: Its name, for messages.

    Raises:
        UsageError: It is not text, or in another encoding. The message never shows the content.
    """
    text, notice = _decoded(data, name)
    if _BINARY.search(text):
        raise UsageError(f"{name} is not a text file: save or export it as text in UTF-8")
    return Text(_ENDS.sub("\n", text), notice)


@contextmanager
def lines(path: Path) -> Iterator[Callable[[], Iterator[str]]]:
    """Yield a function that reads the lines of a text anew each time, however many there are: one is in memory.

    Args:
        path: A file, or standard input (`STDIN`): by its byte order mark, else UTF-8.

    Raises:
        UsageError: While lines are read: it is not text in that encoding, or a line has more than 64 Mi characters.
        OSError: The file cannot be read.
    """
    with _seekable(path) as data:
        start = data.read(len(codecs.BOM_UTF32_LE))
        mark, encoding = next((each for each in _MARKS if start.startswith(each[0])), (b"", "UTF-8"))

        def read() -> Iterator[str]:
            data.seek(len(mark))
            text = io.TextIOWrapper(data, encoding)
            number = 0
            try:
                while line := text.readline(_LONGEST_LINE):
                    number += 1
                    if len(line) == _LONGEST_LINE:
                        raise UsageError(f"line {number} of {path} is too long for a file that a command wrote")
                    yield line
            except UnicodeDecodeError:
                raise UsageError(f"{path} is not {encoding} (after line {number}): save it as UTF-8") from None
            finally:
                text.detach()

        yield read


@contextmanager
def _seekable(path: Path) -> Iterator[IO[bytes]]:
    if path != STDIN:
        with path.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:  # which has no name: standard input may hold secrets
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.seek(0)
        yield file


def _decoded(data: bytes, name: str) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding), ""
            except UnicodeDecodeError:
                raise UsageError(f"{name} begins as {encoding} and is damaged: save it as UTF-8") from None
    if encoding := _unmarked_utf16(data):
        try:
            return data.decode(encoding), f"{name} is not UTF-8: read as {encoding}"
        except UnicodeDecodeError:
            raise UsageError(f"{name} is not a text file: save or export it as text in UTF-8") from None
    try:
        return data.decode(), ""
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    try:
        return data.decode("cp1252"), f"{name} is not UTF-8 (line {line}): read as Windows-1252"
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 (line {line}): save it as UTF-8") from None


def _unmarked_utf16(data: bytes) -> str:
    """Return which UTF-16 these bytes are, by the zeros in every other one; "" if they are not."""
    half = len(data) // 2
    if data[1::2].count(0) * 2 > half and data[::2].count(0) * 8 < half:
        return "UTF-16-LE"
    if data[::2].count(0) * 2 > half and data[1::2].count(0) * 8 < half:
        return "UTF-16-BE"
    return ""
