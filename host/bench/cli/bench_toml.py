"""`bench.toml`: what is the same each time a board is flashed, and not worth typing.

board = "esp32_s3_8mb"          # any option of bench flash, by its name
server = "192.168.1.10:1883"

[wifi]
ssid = "shop floor"
password = "..."                # or BENCH_WIFI_PASSWORD, or you are asked

[settings.session]              # any setting of the firmware
telemetry_s = 10
"""

import inspect
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import UsageError

_NAME = "bench.toml"
_WIFI = ("ssid", "password")


@dataclass(frozen=True, kw_only=True)
class BenchToml:
    """What the file says."""

    options: dict[str, Any] = field(default_factory=dict)
    ssid: str | None = None
    password: str | None = field(default=None, repr=False)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)


def path() -> Path:
    """Where it is: `BENCH_TOML`, or in the working directory."""
    return Path(os.environ.get("BENCH_TOML", _NAME))


def read(*commands: Callable[..., Any]) -> BenchToml:
    """The file, whose options are those of `commands`; nothing if there is none. Raises UsageError.

    A file with a password in it has to be its owner's alone.
    """
    file = path()
    try:
        text = file.read_text()
    except FileNotFoundError:
        return BenchToml()
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}") from error
    wifi = _table(values.pop("wifi", {}), "wifi", file)
    settings = _table(values.pop("settings", {}), "settings", file)
    if unknown := set(wifi) - set(_WIFI):
        raise UsageError(f"{file}: wifi.{min(unknown)} is not one of {', '.join(_WIFI)}")
    for name in _WIFI:
        if not isinstance(wifi.get(name, ""), str):
            raise UsageError(f"{file}: wifi.{name} has to be a text")
    for section, content in settings.items():
        _table(content, f"settings.{section}", file)
    if wifi.get("password") and file.stat().st_mode & 0o077:
        raise UsageError(f"{file} holds a password, and others can read it: chmod 600 {file}")
    known = {name for command in commands for name in inspect.signature(command).parameters}
    options = {name.replace("-", "_"): value for name, value in values.items()}
    if unknown := set(options) - known:
        raise UsageError(f"{file}: {min(unknown)} is not one of {', '.join(sorted(known))}, wifi, settings")
    return BenchToml(options=options, ssid=wifi.get("ssid"), password=wifi.get("password"), settings=settings)


def _table(value: Any, name: str, file: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{file}: {name} has to be a section")
    return value
