"""Wrong use of a command in one line: typer leaves values to pydantic, whose words are about Python."""

import re
from typing import Any

from bench.cli.options import bench_toml

_WORDS = (
    (r"Value error, ", ""),
    (r"Input should be a valid integer.*", "must be a whole number"),
    (r"Input should be a valid number.*", "must be a number"),
    (r"Input should be a finite number", "must be a finite number"),
    (r"Input should be a valid boolean.*", "must be true or false"),
    (r"Input should be a valid string.*", "must be text"),
    (r"Input is not a valid path.*", "must be a path"),
    (r"Input should be greater than or equal to", "must be at least"),
    (r"Input should be less than or equal to", "must be at most"),
)
_ARGUMENT = re.compile(r"(?<=^Missing argument )'(\w+)'")


def describe(error: Any) -> str:
    """Return what is wrong with the words of a command, or with a value in bench.toml, and where help is.

    Args:
        error: One of typer's exceptions for wrong use.
    """
    message = error.format_message()
    for theirs, ours in _WORDS:
        message = re.sub(theirs, ours, message)
    message = _ARGUMENT.sub(lambda found: found[1].upper(), message)  # as the help names it
    if _is_from_file(error):
        return f"{bench_toml.path()}: {message}"
    return f"{message} ({error.ctx.command_path} --help)" if error.ctx else str(message)


def _is_from_file(error: Any) -> bool:
    """Return whether the value is a default from bench.toml."""
    name = getattr(getattr(error, "param", None), "name", None)
    source = error.ctx.get_parameter_source(name) if error.ctx and name else None
    return bool(source and source.name == "DEFAULT_MAP")
