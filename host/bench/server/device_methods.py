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
_SESSION_LIMITS: dict[str, Any] = {
    "maxPayloadSize": codec.PACKET_LIMIT,
    "maxInflightMessages": 100,
    "rateLimits": {"messages": None, "telemetryMessages": None, "telemetryDataPoints": None},
}
_GATEWAY_LIMITS = {**_SESSION_LIMITS, "gatewayRateLimits": _SESSION_LIMITS["rateLimits"]}


def find(name: str, transport: str, *, is_gateway: bool = False) -> Callable[[Any], Any] | None:
    """Return the method of this name, None if there is none on this transport."""
    if name == "getSessionLimits" and transport.startswith("mqtt"):
        return lambda _params: _GATEWAY_LIMITS if is_gateway else _SESSION_LIMITS
    return _METHODS.get(name)
