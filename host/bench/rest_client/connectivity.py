"""Hosts and ports of a server's transports, as its route for shell commands has them, or else by default."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bench import addresses

# mosquitto_pub ... -h HOST -p PORT; curl ... http://HOST:PORT/api/...; coap-client ... coap://HOST:PORT/api/...
_MQTT = re.compile(
    r"""\s-h\s+["']?(?P<host>[\w.:-]{1,253})(?![\w.:-])["']?(?:\s+-p\s+["']?(?P<port>\d{1,5})\b)?""", re.ASCII
)
_URL = re.compile(
    r"\b(?P<scheme>https?|coap)://(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[\w.-]{1,253})(?::(?P<port>\d{1,5}))?/api/v1/",
    re.ASCII,
)
USUAL_PORTS = {"mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443, "coap": 5683}
"""Ports of ThingsBoard's transports, and of HTTP anywhere."""
_BESIDE_HTTP = ("mqtt", "mqtts", "coap")

Place = tuple[str, int]
"""A host, a name or an address without brackets, and a port."""


def endpoints(commands: Any) -> dict[str, Place]:
    """Return host and port by `mqtt`, `mqtts`, `http`, `https` and `coap`, as far as commands have them.

    Args:
        commands: An answer of `GET /api/device-connectivity/{deviceId}` (ThingsBoard 3.6.2 and later; the first
            releases with this route have no level of security in it, one command for each transport).
    """
    found: dict[str, Place] = {}
    for transport in ("mqtt", "http", "coap"):
        group = commands.get(transport) if isinstance(commands, dict) else None
        for name, command in (group if isinstance(group, dict) else {transport: group}).items():
            text = command[-1] if isinstance(command, list) and command else command
            if name in USUAL_PORTS and isinstance(text, str) and (place := _place(name, text)):
                found[name] = place
    return found


def places(found: Mapping[str, Place], url: str) -> dict[str, Place]:
    """Return the host and the port of each transport for whoever knows a server by a URL.

    Without any answer they are those of a ThingsBoard as it comes. A host that is loopback is only right on the
    server's machine, and the server does not know by which port for HTTP it was reached: the URL has both.

    Args:
        found: As `endpoints` returns it.
        url: The server's URL.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    reached = {name: (host if addresses.is_loopback(place[0]) else place[0], place[1]) for name, place in found.items()}
    if not reached:
        reached = {name: (host, USUAL_PORTS[name]) for name in _BESIDE_HTTP}
    return {**reached, parts.scheme: (host, parts.port or USUAL_PORTS[parts.scheme])}


def _place(name: str, command: str) -> Place | None:
    if name in ("mqtt", "mqtts"):
        match = _MQTT.search(command)
    elif (match := _URL.search(command)) and match["scheme"] != name:
        return None
    if match is None:
        return None
    port = int(match["port"] or USUAL_PORTS[name])
    return (match["host"].strip("[]"), port) if 0 < port < 1 << 16 else None
