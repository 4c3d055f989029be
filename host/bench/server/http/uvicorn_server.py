"""uvicorn with deadlines for requests, bounds for their headers, and a bounded shutdown.

uvicorn's own limits do not do it: `timeout_keep_alive` runs only between requests, not before the first one nor during
one that never becomes whole; the bound for headers is h11's alone, which is slower than httptools; and
`limit_concurrency` counts idle connections, too.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http import httptools_impl

from bench.server.connections import Slot
from bench.server.http import websocket_connection
from bench.server.http.silence import SILENCE
from bench.server.http.unread import LeavesUnread
from bench.server.http.websocket_connection import WebSocketConnection

# A connection that has not sent a whole request by then is closed.
REQUEST_DEADLINE_S = 10.0
# A connection is kept so long between two requests, as Tomcat does.
KEEP_ALIVE_S = 60
# Connections that the system accepted and the server did not yet.
CONNECTION_QUEUE = 1024
# Bytes of a request's head; on top of it come the first bytes of its body.
_HEAD_LIMIT = 65536
# A deadline that is noticed later than that was missed by this process (it was stopped, say), and not by the client.
_LATE_S = 1.0
# Tomcat's status lines have no reason phrase. uvicorn has no option for it.
httptools_impl.STATUS_LINE = {status: b"HTTP/1.1 %d \r\n" % status for status in range(100, 600)}
# Where a request may become a WebSocket.
_WEBSOCKETS = b"/api/ws"


class _Deadline(LeavesUnread, httptools_impl.HttpToolsProtocol):
    """A connection of uvicorn's, with a deadline for each request and a bound for its headers.

    uvicorn waits forever for a request that never becomes whole, and reads headers without end.
    """

    deadline_s = REQUEST_DEADLINE_S
    on_malformed: Callable[[str], None]
    slot: Slot
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _begun = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = SILENCE

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arm(self.deadline_s)

    def send_400_response(self, msg: str) -> None:
        self.on_malformed(self.client[0] if self.client else "")
        super().send_400_response(msg)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        # Twice, because the first bytes of the body may come with the end of the head
        if self._in_head and self._head_bytes > 2 * _HEAD_LIMIT:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes, self._begun = True, 0, True
        self._arm(self.deadline_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers are no headers: a proxy that sets headers may let them pass, and they have no bound
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._begun = False
        if self.parser.should_upgrade() and self._should_upgrade():
            return
        self._wait()
        self._look_for_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look_for_request()
        if not (self._begun or self.transport.is_closing()):
            self._wait()

    def _should_upgrade(self) -> bool:
        path = self.url.partition(b"?")[0]
        return (path + b"/").startswith(_WEBSOCKETS + b"/") and self.url.isascii() and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        self._disarm()
        self.ws_protocol_class = partial(WebSocketConnection, self.slot)  # type: ignore[assignment] # it is called
        super().handle_websocket_upgrade()

    def _look_for_request(self) -> None:
        """Say whether a whole request is being handled: then the client is not a stranger."""
        self.slot.set_known(not (self.cycle.response_complete or self.cycle.more_body))

    def _wait(self) -> None:
        """Wait as long as it takes for an answer, or not too long for the next request."""
        if self.cycle.response_complete:
            self._arm(KEEP_ALIVE_S)
        else:
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disarm()
        self._stop_waiting()
        self.slot.release()

    def drop_unfinished_request(self) -> None:
        """Close the connection if part of a request has arrived, but not all of it."""
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body:
            self.transport.abort()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._expire, self.loop.time() + seconds)

    def _expire(self, due: float) -> None:
        if self.loop.time() - due > _LATE_S:  # what arrived meanwhile is read first
            self._arm(_LATE_S)
        else:
            self.transport.abort()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(frozen=True)
class HttpTimeouts:
    """Deadlines in seconds: for a whole request, and for what is under way when the server stops."""

    request_s: float
    stop_s: float


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: signals are the whole server's.

    Args:
        app: The application.
        waits: Its deadlines.
        on_malformed: Called with the address of a client that does not speak HTTP.
        on_stop: Called when the server stops, to end the requests that would not end by themselves.
    """

    def __init__(
        self,
        app: ASGIApp,
        waits: HttpTimeouts,
        *,
        on_malformed: Callable[[str], None],
        on_stop: Callable[[], None],
    ) -> None:
        self._on_stop = on_stop
        self._stopping = asyncio.Event()
        self._protocol = type(
            "Deadline", (_Deadline,), {"deadline_s": waits.request_s, "on_malformed": staticmethod(on_malformed)}
        )
        # Each default is decided: docs/library-defaults.md has the reasons, and a test the list.
        config = uvicorn.Config(
            app,
            http=self._protocol,
            ws=WebSocketConnection,
            ws_max_size=websocket_connection.MESSAGE_LIMIT,
            ws_max_queue=0,  # not used: a connection is not read from until its message is handled
            ws_ping_interval=websocket_connection.PING_S,
            ws_ping_timeout=websocket_connection.PONG_S,
            ws_per_message_deflate=False,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # `Forwarded` does it, for proxies that an operator named
            forwarded_allow_ips=[],
            server_header=False,
            date_header=True,
            root_path="",
            headers=None,
            limit_concurrency=None,
            limit_max_requests=None,
            backlog=CONNECTION_QUEUE,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(waits.stop_s),
            env_file=None,
            workers=1,
        )
        config.load()
        super().__init__(config)

    def accept(self, slot: Slot) -> asyncio.Protocol:
        """Return a protocol for a new connection, for `Listener`."""
        protocol: _Deadline = self._protocol(config=self.config, server_state=self.server_state, app_state={})
        protocol.slot = slot
        return protocol

    def stop(self) -> None:
        """Have `serve` end."""
        self.should_exit = True
        self._stopping.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Begin to serve. Whoever calls `accept` listens: uvicorn's own listeners have no bounds."""
        self.servers = []
        self.started = True

    async def main_loop(self) -> None:
        """Keep the header Date up to date until the server stops: one turn a second, where uvicorn has ten."""
        while not await self.on_tick(0):
            for connection in self._open():
                connection.check()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the requests that arrived, and wait for no others, nor for clients that do not read."""
        self._on_stop()
        for connection in self._open():
            connection.drop_unfinished_request()
        await super().shutdown(sockets)
        for connection in self._open():
            connection.transport.abort()

    def _open(self) -> list[LeavesUnread]:
        return [each for each in self.server_state.connections if isinstance(each, LeavesUnread)]

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
