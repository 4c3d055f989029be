"""Options that several commands have in common."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
G = TypeVar("G")

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
