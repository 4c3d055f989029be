"""Methods of the server that a device may call. All others are upstream's rule engine's, and have no answer here."""

from collections.abc import Callable
from typing import Any

from bench.mqtt import codec
from bench.registry.clock import now_ms

_METHODS: dict[str, Callable[[Any], Any]] = {
    "echo": lambda params: params,
    "getCurrentTime": lambda _params: now_ms(),
}
# Over MQTT only: what ThingsBoard's client has to know before it sends more than 8 kB.
_SESSION_LIMITS = {
    "maxPayloadSize": codec.PACKET_LIMIT,
    "maxInflightMessages": 100,
    "rateLimits": {"messages": None, "telemetryMessages": None, "telemetryDataPoints": None},
}
_MQTT_METHODS: dict[str, Callable[[Any], Any]] = {"getSessionLimits": lambda _params: _SESSION_LIMITS}


def find(name: str, transport: str) -> Callable[[Any], Any] | None:
    """Return the method of this name, None if there is none on this transport."""
    found = _METHODS.get(name)
    return _MQTT_METHODS.get(name) if found is None and transport.startswith("mqtt") else found
