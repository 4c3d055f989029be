"""One TCP connection through the network: each way a task that receives and one that sends, so late is not slow."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench.faults.network import framing
from bench.faults.network.decide import MessagePolicy
from bench.faults.network.framing import Route
from bench.faults.network.handler import Handler, HungUp
from bench.faults.network.rules import FaultKind

# Messages that may be on their way in a direction before their sender is not read from any more.
_QUEUE = 1024
# A slow connection has so many pieces a second.
_BEAT_HZ = 1000
_CHUNK = 65536
_HANDSHAKE_S = 60.0
_RST = struct.pack("ii", 1, 0)  # not to linger: then a close is a RST


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """A message on its way, which arrives at `due`, of the loop's clock."""

    due: float
    data: bytes
    bytes_per_s: float
    """Its own; 0: those of the connection."""
    ends: bool = False  # the connection, in the middle of the message


class TcpConnection:
    """A board's connection, and the network's own to the server."""

    def __init__(self, network: MessagePolicy, route: Route, handler: Handler, board: socket.socket) -> None:
        self.gone = asyncio.Event()
        """Set as soon as the board has left."""
        self._network = network
        self._route = route
        self._handler = handler
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._to: dict[bool, asyncio.StreamWriter] = {}
        self._sent: dict[bool, asyncio.Queue[_Sent | None]] = {up: asyncio.Queue(_QUEUE) for up in (True, False)}
        self._silent = False

    async def run(self, connections: "set[TcpConnection]") -> None:
        """Pass messages on until both ends are gone; it is among the connections meanwhile."""
        try:
            await self._run(connections)
        except* (HungUp, OSError):
            pass  # one end is gone: the close notifies the other one
        finally:
            self._close()
            self._handler.closed()

    async def _run(self, connections: "set[TcpConnection]") -> None:
        tls = await self._handler.opened(self)
        await self._network.unblocked(up=True)
        board, self._to[False] = await self._accept(tls)
        if self._network.is_unavailable():
            await self._answer(board, self._to[False])
            return
        try:
            server, self._to[True] = await asyncio.open_connection(self._route.to_host, self._route.to_port)
        except UnicodeError:  # of a name that no host can have
            return
        connections.add(self)
        try:
            async with asyncio.TaskGroup() as tasks:
                for reader, up in ((board, True), (server, False)):
                    tasks.create_task(self._receive(_messages(self._route, reader), up=up))
                    tasks.create_task(self._send(up=up))
        finally:
            connections.discard(self)

    async def _accept(self, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await self._loop.connect_accepted_socket(
            lambda: protocol, self._board, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_S if tls else None
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    def _close(self) -> None:
        if False not in self._to:
            self._board.close()
        for writer in self._to.values():
            if writer.get_extra_info("sslcontext"):
                writer.transport.abort()  # TLS would wait for the board's close_notify; all that was sent is on its way
            else:
                writer.close()

    # For handlers.

    async def first_byte(self) -> int:
        """Return the first byte that the board sends, as of `handler.HandledConnection`."""
        ready = asyncio.Event()
        self._loop.add_reader(self._board, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(self._board)
        if not (first := self._board.recv(1, socket.MSG_PEEK)):
            raise HungUp
        return first[0]

    async def to_server(self, message: bytes) -> None:
        """Send a message to the server, as of `handler.HandledConnection`."""
        await self._pass_on(message, up=True)

    async def to_board(self, message: bytes) -> None:
        """Send a message to the board, as of `handler.HandledConnection`."""
        await self._pass_on(message, up=False)

    async def hang_up(self, *, hard: bool = False) -> None:
        """End the connection, as of `handler.HandledConnection`."""
        if hard:
            self._reset()
        else:
            await self._sent[False].join()
        raise HungUp

    def hit(self, kind: FaultKind) -> None:
        """Reset the connection, or make it half open from now on."""
        if kind is FaultKind.HALF_OPEN:
            self._silent = True
        else:
            self._reset()

    def _reset(self) -> None:
        if False not in self._to:
            self._board.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        for writer in self._to.values():
            with contextlib.suppress(OSError):  # its end is gone, and so is the socket
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            writer.transport.abort()

    # The way of a message.

    async def _receive(self, messages: AsyncIterator[bytes], *, up: bool) -> None:
        """Pass the messages of one end to the handler. Raises OSError or HungUp if the connection ends there."""
        handle = self._handler.up if up else self._handler.down
        async for message in messages:
            if not self._silent:  # else read to its end, or nobody would find out that both ends are gone
                await handle(self, message)
        if up:
            self.gone.set()
        await self._handler.ended(self, up=up)
        await self._sent[up].put(None)

    async def _pass_on(self, message: bytes, *, up: bool) -> None:
        """Decide about a message, and queue what is left of it. Raises OSError for a reset."""
        decision = self._network.decide(self._route, message, up=up)
        if FaultKind.RESET in decision.met:
            self._reset()
            raise ConnectionResetError
        if FaultKind.HALF_OPEN in decision.met:
            self._silent = True
        is_usual = decision.bytes_per_s == self._network.bandwidth(up=up)
        for data in decision.pieces:
            await self._sent[up].put(
                _Sent(
                    due=self._loop.time() + decision.late_s,
                    data=data,
                    bytes_per_s=0 if is_usual else decision.bytes_per_s,
                    ends=FaultKind.TRUNCATE in decision.met,
                )
            )

    async def _send(self, *, up: bool) -> None:
        """Send messages when they are due, then the end of the stream. Raises OSError when the other end is gone."""
        to, sent = self._to[up], self._sent[up]
        while (each := await sent.get()) is not None:
            await asyncio.sleep(each.due - self._loop.time())
            await self._network.unblocked(up=up)
            await self._write(to, each, up=up)
            if each.ends:
                raise ConnectionAbortedError
            sent.task_done()
        await self._network.unblocked(up=up)
        if self._silent:
            return
        if not to.can_write_eof():  # TLS cannot be half closed
            raise ConnectionAbortedError
        to.write_eof()

    async def _write(self, to: asyncio.StreamWriter, sent: _Sent, *, up: bool) -> None:
        """Write a message at the bandwidth that the network has meanwhile."""
        at, free = 0, self._loop.time()
        while at < len(sent.data):
            if self._network.is_blocked(up=up):
                await self._network.unblocked(up=up)
                free = self._loop.time()
            rate = sent.bytes_per_s or self._network.bandwidth(up=up)
            size = max(int(rate / _BEAT_HZ), 1) if rate else len(sent.data)
            to.write(sent.data[at : at + size])
            await to.drain()
            at += size
            if rate:
                free += size / rate
                await asyncio.sleep(free - self._loop.time())

    async def _answer(self, board: asyncio.StreamReader, to_board: asyncio.StreamWriter) -> None:
        """Answer the board's first message in the server's stead, and read and drop the others."""
        async for message in _messages(self._route, board):
            to_board.write(self._network.answer(self._route, message) or b"")
            to_board.write_eof()
            break
        while await board.read(_CHUNK):  # a close with unread bytes sends a RST, which loses the answer
            pass


def _messages(route: Route, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    return (route.protocol.framing or framing.chunks)(reader)
