"""A client of `/api/ws`, on the `websockets` library."""

import contextlib
import json
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.servers import PATIENCE_S


class LiveClient:
    """A WebSocket; its messages are JSON."""

    def __init__(self, server, path="/api/ws", **options):
        origin = f"wss://127.0.0.1:{server.ports.https}" if "ssl" in options else f"ws://127.0.0.1:{server.ports.http}"
        options = {"compression": None, "max_size": None, "proxy": None, "open_timeout": PATIENCE_S, **options}
        self._connecting = connect(f"{origin}{path}", **options)

    def __enter__(self):
        self.socket = self._connecting.__enter__()
        return self

    def __exit__(self, *failure):
        self._connecting.__exit__(*failure)

    def send(self, message):
        self.socket.send(json.dumps(message))

    def command(self, **fields):
        """Send a command, with the fields in Python's spelling."""
        self.send({"cmds": [command(**fields)]})

    def read(self):
        return json.loads(self.socket.recv(PATIENCE_S))

    def request(self, **fields):
        """Send a command and return its answer."""
        self.command(**fields)
        return self.read()

    def expect_closed(self, code, reason=None):
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.socket.recv(PATIENCE_S)
        assert self.socket.close_code == code, (self.socket.close_code, self.socket.close_reason)
        if reason is not None:
            assert self.socket.close_reason == reason


def command(**fields):
    return {camel(name): value for name, value in fields.items()}


def camel(name):
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


def wait_for_none(operator):
    """Wait until no WebSocket is open, as the server's metrics have it."""
    deadline = time.monotonic() + PATIENCE_S
    while 'firstboot_connections{transport="websocket"} 0' not in operator.get("/metrics").text:
        assert time.monotonic() < deadline


def token_of(client):
    """Return the token of an operator's or user's HTTP client."""
    return client.headers["x-authorization"].removeprefix("Bearer ")


@contextlib.contextmanager
def live(server, user, path="/api/ws", **options):
    """Yield a client that is logged in."""
    with LiveClient(server, path, **options) as client:
        client.send({"authCmd": {"cmdId": 0, "token": token_of(user)}})
        yield client
