"""All checks of a server."""

from bench.conformance.server import coap, decisions, exchange, http, mqtt, mqtt5, mqtt_devices, tls

_MODULES = (decisions, exchange, mqtt, mqtt_devices, mqtt5, http, coap, tls)
_GROUPS = ("provision", "mqtt", "mqtt5", "http", "coap", "tls")

CHECKS = sorted(
    (each for module in _MODULES for each in module.checks.entries),
    key=lambda each: _GROUPS.index(each.name.partition(".")[0]),
)
