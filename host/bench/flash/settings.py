"""The `settings.json` that goes into a board's flash."""

import json
from dataclasses import asdict
from typing import Any

from bench.boards import Board

# The one access point that virtual boards see.
VIRTUAL_WIFI = {"ssid": "bench", "password": "the air is loopback"}


def encode(*, host: str, port: int, key: str, secret: str, **sections: dict[str, Any]) -> bytes:
    """The file's bytes. `sections` (`session={"telemetry_s": 5}`) overlay what is set here.

    The result holds secrets: whatever it is written to has to be private.
    """
    settings: dict[str, dict[str, Any]] = {
        "server": {"host": host, "port": port},
        "provision": {"key": key, "secret": secret},
        "wifi": dict(VIRTUAL_WIFI),
    }
    for section, values in sections.items():
        settings.setdefault(section, {}).update(values)
    return json.dumps(settings, indent=1, ensure_ascii=False).encode()


def wired(board: Board) -> dict[str, dict[str, Any]]:
    """The sections that follow from how a board is made: its LED, its button, its Ethernet."""
    pins = {name: pin for name, pin in (("led", board.led), ("button", board.button)) if pin >= 0}
    sections: dict[str, dict[str, Any]] = {"board": pins} if pins else {}
    if board.ethernet:
        sections["ethernet"] = asdict(board.ethernet)
    return sections
