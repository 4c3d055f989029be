"""Text from elsewhere, made safe for terminals and spreadsheets."""

import re

# A spreadsheet reads a cell that begins so as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NAME_LIMIT = 200


def printable(text: str) -> str:
    r"""Return a text in which all that a terminal obeys or cannot show is escaped as in Python: `\x1b`."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def printable_lines(text: str) -> str:
    """Return a text in which the line breaks stay, as line feeds, and all else is as `printable` has it."""
    return "\n".join(printable(line.rstrip("\r")) for line in text.split("\n"))


def cell(text: str) -> str:
    """Return a text as a cell of CSV; one that a spreadsheet would read as a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def file_name(text: str) -> str:
    """Return a text as the name of a file: of ASCII characters that need no quotes, not hidden, and in no folder."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", text).lstrip(".")[:_NAME_LIMIT] or "_"
