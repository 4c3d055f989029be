"""Hosts and ports of a server's transports, as its route for shell commands has them."""

import re
from typing import Any

# mosquitto_pub ... -h HOST -p PORT; curl ... http://HOST:PORT/api/...; coap-client ... coap://HOST:PORT/api/...
_MQTT_HOST, _MQTT_PORT = re.compile(r" -h (\S+)"), re.compile(r" -p (\d{1,5})\b")
_URL = re.compile(r"\b(https?|coap)://([^/:\s\[\]]+)(?::(\d{1,5}))?/api/v1/")
_USUAL = {"mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443, "coap": 5683}


def endpoints(commands: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Return host and port by `mqtt`, `mqtts`, `http`, `https` and `coap`, as far as commands have them.

    Args:
        commands: An answer of `GET /api/device-connectivity/{deviceId}` (ThingsBoard 3.6.2 and later).
    """
    found = {}
    for transport in ("mqtt", "http", "coap"):
        group = commands.get(transport)
        for name, command in group.items() if isinstance(group, dict) else ():
            text = command[-1] if isinstance(command, list) and command else command
            if name in _USUAL and isinstance(text, str) and (place := _place(name, text)):
                found[name] = place
    return found


def _place(name: str, command: str) -> tuple[str, int] | None:
    if name in ("mqtt", "mqtts"):
        host, port = _MQTT_HOST.search(command), _MQTT_PORT.search(command)
        return (host[1], int(port[1]) if port else _USUAL[name]) if host else None
    url = _URL.search(command)
    return (url[2], int(url[3] or _USUAL[name])) if url and url[1] == name else None
