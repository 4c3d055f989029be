"""The ports that the server listens on, and the certificate that it shows there."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.server.tls.authority import Identity


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports that the server listens on."""

    mqtt: int
    mqtts: int
    http: int
    https: int
    coap: int


@dataclass(frozen=True)
class Endpoints:
    """The server's ports, and what returns its certificate, which may change while it runs."""

    ports: Ports
    identity: Callable[[], Identity]
