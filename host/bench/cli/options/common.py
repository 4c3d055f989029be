"""Options shared by several commands."""

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from bench import paths
from bench.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")
G = TypeVar("G")

PORT_HELP = (
    "The board's port: a device, rfc2217://HOST:PORT, socket://HOST:PORT, or the MAC of a chip with built-in USB"
)
BOARD_HELP = "The board's definition; bench boards lists them."


class Before(StrEnum):
    """esptool's way to reset a chip into its boot loader."""

    DEFAULT_RESET = "default-reset"
    USB_RESET = "usb-reset"
    NO_RESET = "no-reset"


class After(StrEnum):
    """esptool's way to leave the boot loader."""

    HARD_RESET = "hard-reset"
    NO_RESET = "no-reset"


Port = Annotated[str, typer.Option("--port", metavar="PORT", help=f"{PORT_HELP}. Not needed if only one port fits.")]
BoardName = Annotated[str, typer.Option("--board", metavar="NAME", help=BOARD_HELP)]
Baud = Annotated[int, typer.Option("--baud", min=0, help="Baud rate for esptool. 0: as in the definition.")]
BeforeOption = Annotated[
    Before | None,
    typer.Option(
        "--before", help="How to reset into the boot loader; no-reset: you do it.", show_default="as in the definition"
    ),
]
AfterOption = Annotated[After, typer.Option("--after", help="How to leave the boot loader; no-reset: you do it.")]

Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]

CONTEXT = "context"
"""The name of every command's parameter for its context."""

Options = Mapping[str, tuple[Any, Any]]
"""Parameter name -> (annotation for typer, default)."""


def with_options(
    options: Options, into: Callable[..., G]
) -> Callable[[Callable[Concatenate[G, P], T]], Callable[..., T]]:
    """Add options to a command's own.

    Args:
        options: The options to add.
        into: Called with their values by name; its result is the command's first argument. An option `CONTEXT` is the
            command's context: the command's own, if it has one, as typer gives it only once.

    Returns:
        A decorator for commands.
    """

    def decorate(command: Callable[Concatenate[G, P], T]) -> Callable[..., T]:
        _, *own = inspect.signature(command).parameters.values()
        kept = {each.name for each in own}
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for name, (kind, default) in options.items()
            if name != CONTEXT or name not in kept
        ]

        @wraps(command)
        def run(*args: Any, **given: Any) -> T:
            first = into(**{name: given[name] for name in options})
            return command(first, *args, **{name: each for name, each in given.items() if name in kept})

        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
        return run

    return decorate


def was_given(context: typer.Context, parameter: str) -> bool:
    """Return whether an option is on the command line."""
    source = context.get_parameter_source(parameter)
    return bool(source and source.name == "COMMANDLINE")


def check_new(file: Path, *, force: bool) -> None:
    """Check that a file can be written, and is not there yet or may be replaced. Raises UsageError."""
    paths.check_place(file)
    if file.exists() and not force:
        raise UsageError(f"{file} exists: name another file, or replace it with --force")
