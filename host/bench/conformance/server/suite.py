"""All checks of a server, and a run of them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from bench.conformance import check
from bench.conformance.check import Check, Outcome
from bench.conformance.server import coap, decisions, exchange, http, mqtt, mqtt5, mqtt_devices, tls
from bench.conformance.server.subject import Server

_MODULES = (decisions, exchange, mqtt, mqtt_devices, mqtt5, http, coap, tls)
_GROUPS = ("provision", "mqtt", "mqtt5", "http", "coap", "tls")

CHECKS = sorted(
    (each for module in _MODULES for each in module.book.checks),
    key=lambda each: _GROUPS.index(each.name.partition(".")[0]),
)


def run(checks: Iterable[Check[Server]], server: Server) -> Iterator[Outcome]:
    """Run checks one after the other; their outcomes as they end, fit to be shown."""
    for outcome in check.run(checks, server):
        yield replace(outcome, detail=server.shown(outcome.detail))
