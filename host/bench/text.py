"""What others said, as a person can read it on any terminal."""


def legible(text: str) -> str:
    r"""A text without what a terminal obeys or cannot show, which is written as Python does: `\x1b`."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
