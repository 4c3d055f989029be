"""Text from elsewhere, made safe for terminals."""


def printable(text: str) -> str:
    r"""Return a text in which all that a terminal obeys or cannot show is escaped as in Python: `\x1b`."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
