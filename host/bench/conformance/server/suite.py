"""All checks of a server, and a run of them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from bench.conformance import check
from bench.conformance.check import Check, Outcome
from bench.conformance.server import coap, http, mqtt, mqtt5, provisioning, tls
from bench.conformance.server.subject import Server

_BOOKS = (provisioning.book, mqtt.book, mqtt5.book, http.book, coap.book, tls.book)
_GROUPS = ("provision", "mqtt", "mqtt5", "http", "coap", "tls")

CHECKS = sorted(
    (each for book in _BOOKS for each in book.checks), key=lambda each: _GROUPS.index(each.name.partition(".")[0])
)


def run(checks: Iterable[Check[Server]], server: Server) -> Iterator[Outcome]:
    """Run checks one after the other; their outcomes as they end, fit to be shown."""
    for outcome in check.run(checks, server):
        yield replace(outcome, detail=server.shown(outcome.detail))
