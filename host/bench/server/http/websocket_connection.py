"""A WebSocket connection (RFC 6455), which begins as a request over HTTP.

uvicorn's has no bound for what it buffers of pings, of empty fragments and of messages that nobody handles yet, and
none for a client that does not read.
"""

from contextlib import suppress
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from bench.server.connections import Slot
from bench.server.http.silence import SILENCE
from bench.server.http.unread import LINGER_S, LeavesUnread

# Bytes of a message from the client, as ThingsBoard has it; close code 1009.
MESSAGE_LIMIT = 32768
# What else may wait on one connection: fragments of a message, messages that nobody handled, answers to pings that the
# client does not read. Beyond it the connection is cut off.
_FRAGMENTS = 1000
_MESSAGES = 1000
_PONGS = 100
# A client is pinged when it was silent for so long, and has so long to answer: 40 s in all, some more than ThingsBoard.
PING_S, PONG_S = 10.0, 30.0

EXTENSION = "firstboot.connection"
"""What an application finds the connection under, among the extensions of its scope."""


class WebSocketConnection(LeavesUnread, WebSocketsSansIOProtocol):
    """A connection of uvicorn's, with bounds; `slot` is its place among all connections."""

    def __init__(self, slot: Slot, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.conn.logger = SILENCE
        self.slot = slot
        self._pongs = 0

    def end(self, code: int, reason: str) -> None:
        """Close, behind what waits to be read; whoever does not read it is cut off."""
        if self.close_sent or self.transport.is_closing():
            return
        with suppress(InvalidState):
            self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._ending(code, reason)

    def _ending(self, code: int, reason: str) -> None:
        """Wait for the client's end of the connection, but not for long."""
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)
        if self.read_paused:  # the client's own close has to be read
            self.read_paused = False
            self.transport.resume_reading()

    # What uvicorn calls.

    async def send(self, message: Any) -> None:
        await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions: dict[str, Any] = dict(self.scope.get("extensions") or {})
            self.scope["extensions"] = {**extensions, EXTENSION: self}  # type: ignore[dict-item] # a server's own

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) >= _FRAGMENTS:
            self.transport.abort()
        else:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.queue.qsize() >= _MESSAGES:
            self.transport.abort()
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        self._pongs = 0 if self.writable.is_set() else self._pongs + 1
        if self._pongs > _PONGS:
            self.transport.abort()
        else:
            super().handle_ping()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # the request, which comes first and is whole, is not one
            self.transport.abort()

    def handle_parser_exception(self) -> None:
        """Close, but read on: a client that is still sending would get a reset, and not get to know why."""
        if self.close_sent or self.conn.close_sent is None:
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._ending(self.conn.close_sent.code, self.conn.close_sent.reason)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:  # TLS
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()
        self.slot.release()

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except InvalidState:  # it is closing already
            self.transport.abort()
