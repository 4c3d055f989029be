"""`bench.toml`: defaults for options, the Wi-Fi network, and settings that are the same for each board.

board = "esp32_s3_8mb"          # any option of bench flash, by its name
server = "192.168.1.10:1883"

[wifi]
ssid = "shop floor"
password = "..."                # or BENCH_WIFI_PASSWORD, or a prompt

[settings.session]              # any setting of the firmware
telemetry_s = 10
"""

import difflib
import inspect
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from typer.models import OptionInfo

from bench.cli.options import text_files
from bench.contract import settings as schema
from bench.errors import UsageError

_NAME = "bench.toml"
_WIFI = ("ssid", "password")
_SECTIONS = {"wifi", "settings"}


@dataclass(frozen=True, kw_only=True)
class BenchToml:
    """The content of the file. The keys of `options` are names of parameters."""

    options: dict[str, Any] = field(default_factory=dict)
    ssid: str | None = None
    password: str | None = field(default=None, repr=False)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)


def path() -> Path:
    """Return the path of the file: `BENCH_TOML`, or bench.toml in the working directory."""
    return Path(os.environ.get("BENCH_TOML", _NAME))


def read(*commands: Callable[..., Any]) -> BenchToml:
    """Read and check the file. A missing file is an empty one.

    Args:
        *commands: The commands whose options it may set.

    Raises:
        UsageError: The file is not TOML, has an unknown key, or holds a secret and others can read it.
    """
    file = path()
    try:
        text = text_files.read(file)
    except FileNotFoundError:
        return BenchToml()
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}") from error
    wifi = _table(values.pop("wifi", {}), "wifi", file)
    settings = _table(values.pop("settings", {}), "settings", file)
    if unknown := set(wifi) - set(_WIFI):
        raise UsageError(f"{file}: wifi.{min(unknown)} is not one of {', '.join(_WIFI)}")
    for name in _WIFI:
        if not isinstance(wifi.get(name, ""), str):
            raise UsageError(f"{file}: wifi.{name} must be a string")
    schema.check(settings, where=f"{file}: settings")
    schema.check_forms(settings, where=f"{file}: settings")
    if (held := secrets({"wifi": wifi, "settings": settings})) and file.stat().st_mode & 0o077:
        raise UsageError(f"{file} holds {held}, and others can read it: chmod 600 {file}")
    known = {name: parameter for command in commands for name, parameter in options_of(command)}
    given = {name.replace("_", "-"): value for name, value in values.items()}
    if unknown := given.keys() - known:
        raise UsageError(f"{file}: {min(unknown)} is not {_cure(min(unknown), known.keys() | _SECTIONS)}")
    options = {known[name]: value for name, value in given.items()}
    return BenchToml(options=options, ssid=wifi.get("ssid"), password=wifi.get("password"), settings=settings)


def secrets(values: Mapping[str, Any]) -> str:
    """Return which secrets the content of the file holds, for a message; empty if there are none.

    Args:
        values: The file's tables, checked or not.
    """
    wifi, sections = values.get("wifi"), values.get("settings")
    if isinstance(wifi, dict) and wifi.get("password"):
        return "a password"
    tables = (
        {name: table for name, table in sections.items() if isinstance(table, dict)}
        if isinstance(sections, dict)
        else {}
    )
    return f"a secret (settings.{names[0]})" if (names := schema.secrets(tables)) else ""


def options_of(command: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Yield (option without its dashes, parameter) for each option of a command."""
    for name, parameter in inspect.signature(command).parameters.items():
        if parameter.annotation is typer.Context:
            continue
        options = [each for each in getattr(parameter.annotation, "__metadata__", ()) if isinstance(each, OptionInfo)]
        # what is given first stands where typer has the default, if it is not in an annotation
        declared = [text for each in options for text in (each.default, *(each.param_decls or ()))]
        typed = [text for text in declared if isinstance(text, str) and text.startswith("--")]
        yield typed[0].split("/")[0][2:] if typed else name.replace("_", "-"), name


def _cure(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, known, 1)
    return f"an option; did you mean {nearest[0]}?" if nearest else f"one of {', '.join(sorted(known))}"


def _table(value: Any, name: str, file: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{file}: {name} must be a table")
    return value
