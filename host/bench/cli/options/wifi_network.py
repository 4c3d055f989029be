"""The Wi-Fi network for boards: from the command line, the environment, bench.toml, or a prompt."""

import os
import sys
from typing import Any

import typer

from bench.boards import BoardDefinition
from bench.cli.options.bench_toml import BenchToml
from bench.errors import UsageError

PASSWORD = "BENCH_WIFI_PASSWORD"  # noqa: S105 - a variable's name


def choose(board: BoardDefinition, toml: BenchToml, ssid: str) -> dict[str, Any]:
    """Return the network that a board joins, with a prompt only for what is needed and missing.

    Args:
        board: A board with Ethernet needs no network.
        toml: The content of bench.toml.
        ssid: The network's name from the command line, or empty.

    Returns:
        `ssid` and `password` for the section `wifi` of the settings.

    Raises:
        UsageError: A value is missing, and there is no terminal for a prompt.
    """
    ssid = ssid or toml.ssid or ""
    if not ssid and (board.ethernet or toml.settings.get("wifi")):
        return {"ssid": "", "password": ""}
    if not ssid:
        ssid = _prompt("Wi-Fi network", "--wifi NETWORK, or [wifi] in bench.toml")
    password = os.environ.get(PASSWORD, toml.password)
    if password is None:
        cure = f"{PASSWORD} (empty for an open network)"
        password = _prompt(f"Password of {ssid} (empty for an open network)", cure, secret=True)
    return {"ssid": ssid, "password": password}


def _prompt(what: str, otherwise: str, *, secret: bool = False) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"{what}: no terminal for a prompt; set {otherwise}")
    return str(typer.prompt(what, default="", show_default=False, hide_input=secret, err=True))
