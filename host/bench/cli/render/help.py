"""Help texts: plain lines of at most the terminal's width, in which no word is cut."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

_WIDEST_CHOICE = 24  # characters of values that are shown beside an option; longer ones are in its text
_HYPHEN = "\N{NON-BREAKING HYPHEN}"
_NAMES = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "FILE"}


class _PlainHelp:
    """Help for a command or a group, in front of typer's class for that. Typer has no name for the click in it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        with _whole_words(formatter):
            super().format_help(ctx, formatter)  # type: ignore[misc] # of the command or group

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options."""
        _write_parameters(self, ctx, formatter)


class HelpCommand(_PlainHelp, TyperCommand):
    """A command whose help names values in plain English."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override] # of its click
        """Return the words of the usage after the command's name."""
        arguments = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        names = [(_label(each, None, None), each.required) for each in arguments]
        return ["[OPTIONS]", *(name if is_required else f"[{name}]" for name, is_required in names)]


class HelpGroup(_PlainHelp, TyperGroup):
    """A group of commands whose help names values in plain English, with its commands in sections."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options and the commands."""
        super().format_options(ctx, formatter)
        sections = ctx.command.context_settings.get("obj") or {"Commands": self.list_commands(ctx)}
        for title, names in sections.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                assert command
                rows.append((name, command.get_short_help_str(limit=1_000)))
            with formatter.section(title):
                formatter.write_dl(rows)


class App(typer.Typer):
    """A group of commands with these help texts."""

    def __init__(self, *, sections: Mapping[str, Sequence[str]] | None = None, **options: Any) -> None:
        """Make a group without commands.

        Args:
            sections: Title -> names of the commands in this section of the help; None for one section.
            **options: Of `typer.Typer`.
        """
        settings = {"help_option_names": ["-h", "--help"], "obj": sections}
        super().__init__(
            cls=HelpGroup, no_args_is_help=True, rich_markup_mode=None, context_settings=settings, **options
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Return the decorator for a command; see `typer.Typer.command`."""
        return super().command(name, cls=HelpCommand, **options)


@contextmanager
def _whole_words(formatter: Any) -> Iterator[None]:
    """Have no line end inside a word: options and values have hyphens, at which text is usually wrapped."""
    write_text, write_dl = formatter.write_text, formatter.write_dl
    formatter.write_text = lambda text: write_text(text.replace("-", _HYPHEN))
    formatter.write_dl = lambda rows: write_dl([(label, text.replace("-", _HYPHEN)) for label, text in rows])
    yield
    formatter.buffer[:] = [each.replace(_HYPHEN, "-") for each in formatter.buffer]


def _write_parameters(command: Any, ctx: typer.Context, formatter: Any) -> None:
    declared = inspect.signature(command.callback).parameters if command.callback else {}
    rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for each in command.get_params(ctx):
        if getattr(each, "hidden", False):
            continue
        kind, options = _declaration(declared.get(each.name))
        if each.param_type_name == "argument" and not each.help:
            continue  # the usage says it all
        row = (_label(each, kind, options), _text(each, kind, options))
        section = "Arguments" if each.param_type_name == "argument" else "Options"
        rows.setdefault(getattr(options, "rich_help_panel", None) or section, []).append(row)
    for title, found in rows.items():
        if found:
            with formatter.section(title):
                formatter.write_dl(found)


def _declaration(parameter: inspect.Parameter | None) -> tuple[Any, Any]:
    """Return the type of a parameter's values, and typer's options for it; two times None if it is not ours."""
    if parameter is None:
        return None, None
    kind, options = parameter.annotation, None
    while args := get_args(kind):  # Annotated[...], a list, or an optional value
        if hasattr(kind, "__metadata__"):
            options = kind.__metadata__[0]
        kind = next(each for each in args if each is not NoneType)
        if get_origin(kind) is None and not get_args(kind):
            break
    return kind, options


def _label(parameter: Any, kind: Any, options: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(getattr(options, "metavar", None) or parameter.name).upper()
    opts = sorted(parameter.opts, key=len)  # those of --help come in any order
    names = " / ".join([", ".join(opts), *parameter.secondary_opts])
    value = getattr(options, "metavar", None) or _value(parameter, kind)
    return f"{names} {value}" if value else names


def _value(parameter: Any, kind: Any) -> str:
    if parameter.is_flag or kind is None or kind is bool:
        return ""
    if choices := _choices(kind):
        return choices if len(choices) <= _WIDEST_CHOICE else "NAME"
    return _NAMES.get(kind, "TEXT")


def _choices(kind: Any) -> str:
    return "|".join(str(each.value) for each in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ""


def _text(parameter: Any, kind: Any, options: Any) -> str:
    text = parameter.help or ""
    if len(choices := _choices(kind)) > _WIDEST_CHOICE:
        text += f" One of {', '.join(choices.split('|'))}."
    notes = []
    if envvar := getattr(options, "envvar", None):
        notes.append(f"or set {envvar}")
    if default := _default(parameter, options):
        notes.append(f"default: {default}")
    least, most = (getattr(options, each, None) for each in ("min", "max"))
    if least is not None or most is not None:
        notes.append(f"at least {_number(least)}" if most is None else f"{_number(least)} to {_number(most)}")
    if parameter.required and parameter.param_type_name == "option":
        notes.append("required")
    return f"{text}  [{'; '.join(notes)}]" if notes else text


def _default(parameter: Any, options: Any) -> str:
    value, shown = parameter.default, getattr(options, "show_default", True)
    if isinstance(shown, str):
        return shown
    if not shown or value in (None, "", [], ()) or callable(value):
        return ""
    if isinstance(value, bool):
        return str((parameter.opts if value else parameter.secondary_opts or [""])[0])
    if isinstance(value, Enum):
        return str(value.value)
    return _number(value)


def _number(value: Any) -> str:
    """Return a value, a whole number without a decimal point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
