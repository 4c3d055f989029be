"""The sockets the server listens on."""

import socket

import pytest

from bench.server import server


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_accepted_connection_is_tcp_by_name(host):
    """Else asyncio leaves Nagle's algorithm on, and an answer of two writes waits for the peer's delayed ACK."""
    with server._listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP
