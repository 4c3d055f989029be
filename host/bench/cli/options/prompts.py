"""Questions to the person at the terminal."""

import sys

import typer

from bench.errors import UsageError


def prompt(what: str, otherwise: str, *, secret: bool = False) -> str:
    """Return what a person types; it may be empty.

    Args:
        what: What is needed, e.g. "Password of tenant@example.org".
        otherwise: How to give it without a terminal, for the error.
        secret: Do not show what is typed.

    Raises:
        UsageError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{what} is needed, and there is no terminal to ask for it: {otherwise}")
    return str(typer.prompt(what, default="", show_default=False, hide_input=secret, err=True))
