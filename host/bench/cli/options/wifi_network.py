"""The Wi-Fi network for boards: from the command line, the environment, bench.toml, or a prompt."""

import os
from typing import Any

from bench.boards import BoardDefinition
from bench.cli.options import prompts
from bench.cli.options.bench_toml import BenchToml

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
        ssid = prompts.prompt("Wi-Fi network", "give --wifi SSID, or ssid under [wifi] in bench.toml")
    password = os.environ.get(PASSWORD, toml.password)
    if password is None:
        password = prompts.prompt(f"Password of {ssid} (empty for an open network)", f"set {PASSWORD}", secret=True)
    return {"ssid": ssid, "password": password}
