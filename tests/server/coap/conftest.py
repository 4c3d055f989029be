"""A CoAP peer of a test's server."""

from collections.abc import Iterator

import pytest

from tests.support.coap_packets import RawPeer
from tests.support.servers import RunningServer


@pytest.fixture
def peer(server: RunningServer) -> Iterator[RawPeer]:
    """A peer with a socket of its own."""
    with RawPeer(server.ports.coap) as peer:
        yield peer
