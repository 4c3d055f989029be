"""Options that several commands have in common."""

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

P = ParamSpec("P")
T = TypeVar("T")
G = TypeVar("G")

PORT_HELP = (
    "The board's port: a device, rfc2217://HOST:PORT, socket://HOST:PORT, or the MAC of a chip with USB of its own"
)


class Before(StrEnum):
    """How esptool gets a chip into its loader."""

    DEFAULT_RESET = "default-reset"
    USB_RESET = "usb-reset"
    NO_RESET = "no-reset"


class After(StrEnum):
    """How a chip gets out of its loader."""

    HARD_RESET = "hard-reset"
    NO_RESET = "no-reset"


Port = Annotated[str, typer.Option("--port", help=f"{PORT_HELP}. The only one that fits if not given.")]
BoardName = Annotated[str, typer.Option("--board", help="The definition in boards/.")]
Baud = Annotated[int, typer.Option("--baud", min=0, help="esptool's speed; 0: the definition's.")]
BeforeOption = Annotated[
    Before | None,
    typer.Option(
        "--before", help="How the chip gets into its loader; no-reset: you do it.", show_default="the definition's"
    ),
]
AfterOption = Annotated[
    After, typer.Option("--after", help="How the chip gets out of its loader; no-reset: you do it.")
]

Options = Mapping[str, tuple[Any, Any]]
"""Name -> what typer reads from the annotation, and the default."""


def gathered(options: Options, into: Callable[..., G]) -> Callable[[Callable[Concatenate[G, P], T]], Callable[..., T]]:
    """Add options to a command's own: what they are is its first argument, made by `into(**options)`."""

    def decorate(command: Callable[Concatenate[G, P], T]) -> Callable[..., T]:
        @wraps(command)
        def run(*args: Any, **given: Any) -> T:
            first = into(**{name: given.pop(name) for name in options})
            return command(first, *args, **given)

        _, *own = inspect.signature(command).parameters.values()
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for name, (kind, default) in options.items()
        ]
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
        return run

    return decorate
