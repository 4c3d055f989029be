"""Foreign text made safe for terminals."""


def legible(text: str) -> str:
    r"""Return a text with all that a terminal obeys or cannot show escaped as Python does: `\x1b`."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
