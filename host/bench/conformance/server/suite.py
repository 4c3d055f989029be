"""All checks of a server."""

from bench.conformance.server import (
    coap,
    decisions,
    exchange,
    http,
    mqtt,
    mqtt5,
    mqtt_devices,
    mqtt_packages,
    operators,
    packages,
    tls,
)

_MODULES = (decisions, exchange, mqtt, mqtt_devices, mqtt5, http, coap, mqtt_packages, packages, tls, operators)
_GROUPS = ("provision", "mqtt", "mqtt5", "http", "coap", "tls", "operator")

CHECKS = sorted(
    (each for module in _MODULES for each in module.checks.entries),
    key=lambda each: _GROUPS.index(each.name.partition(".")[0]),
)
DIFFERENCES = {name: about for module in _MODULES for name, about in module.checks.differences.items()}
"""The difference between releases, a field of `Release`, that decides a check, by the check's name."""
