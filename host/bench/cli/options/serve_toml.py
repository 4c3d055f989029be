"""`serve.toml`: options of bench serve in a file, by their names.

host = "0.0.0.0"
hostname = ["bench.local", "192.168.1.10"]
history-days = 30
"""

import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import typer

from bench.cli.options import bench_toml, text_files
from bench.errors import UsageError

NAME = Path("serve.toml")
# Of TOML, by the type of an option.
_TYPES: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text in quotes"),
    Path: ((str,), "a path in quotes"),
    list: ((list,), "a list of texts"),
}


def use(context: typer.Context, file: Path | None) -> None:
    """Have the options of a command default to what a file has. The command line and the environment count first.

    Args:
        context: Of the command.
        file: The file; None for `serve.toml` in the working directory, if there is one.

    Raises:
        UsageError: The file is missing, is not TOML, has an unknown option or a value of another type, or holds a
            password and others can read it.
    """
    if file is None and not NAME.exists():
        return
    assert context.command.callback
    context.default_map = {
        **(context.default_map or {}),
        **_read(file or NAME, inspect.unwrap(context.command.callback)),
    }


def _read(file: Path, command: Callable[..., Any]) -> dict[str, Any]:
    try:
        values = tomllib.loads(text_files.read(file))
    except FileNotFoundError:
        raise UsageError(f"no file {file.resolve()}: name another with --config") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}") from error
    known = {name: parameter for name, parameter in bench_toml.options_of(command) if parameter != "config"}
    given = {name.replace("_", "-"): value for name, value in values.items()}
    if unknown := given.keys() - known:
        raise UsageError(f"{file}: {min(unknown)} is not one of {', '.join(sorted(known))}")
    parameters = inspect.signature(command).parameters
    for name, value in given.items():
        kind = _kind(parameters[known[name]].annotation)
        types, words = _TYPES[kind]
        if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool):
            raise UsageError(f"{file}: {name} must be {words}")
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise UsageError(f"{file}: {name} must be {words}")
    if given.get("database") and file.stat().st_mode & 0o077:
        raise UsageError(f"{file} holds the database's password, and others can read it: chmod 600 {file}")
    return {known[name]: value for name, value in given.items()}


def _kind(annotation: Any) -> Any:
    """Return the type of an option: of `Annotated[int | None, ...]` int, of `Annotated[list[str], ...]` list."""
    kind = get_args(annotation)[0]
    if get_origin(kind) is list:
        return list
    return next((each for each in get_args(kind) if each is not NoneType), kind)
