"""One TCP connection through a network: four tasks, two that hear and two that pass on, so that late is not slow."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from bench.faults.network import framing
from bench.faults.network.decide import Ruling
from bench.faults.network.framing import Route
from bench.faults.network.rules import Kind

# Messages that may be on their way in a direction before their sender is not heard any more.
_QUEUE = 1024
# A slow connection has so many pieces a second.
_BEAT_HZ = 1000
_CHUNK = 65536


class Network(Protocol):
    """The network, as a connection sees it."""

    def judge(self, route: Route, message: bytes, *, up: bool) -> Ruling: ...
    def bandwidth(self, *, up: bool) -> float: ...
    def is_closed(self, *, up: bool) -> bool: ...
    async def opened(self, *, up: bool) -> None: ...
    def stand_in(self, route: Route, request: bytes) -> bytes | None: ...
    def stands_in(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """What is on its way: it gets there at `due`, of the loop's clock."""

    due: float
    data: bytes
    bytes_per_s: float
    """Its own; 0: those of the connection."""
    ends: bool = False  # the connection, in the middle of what was said


class Connection:
    """A connection of a board's, and ours to the server."""

    def __init__(
        self, network: Network, route: Route, to_board: asyncio.StreamWriter, to_server: asyncio.StreamWriter
    ) -> None:
        self._network = network
        self._route = route
        self._to = {True: to_server, False: to_board}
        self._loop = asyncio.get_running_loop()
        self._silent = False

    @classmethod
    async def serve(
        cls,
        network: Network,
        route: Route,
        connections: "set[Connection]",
        board: asyncio.StreamReader,
        to_board: asyncio.StreamWriter,
    ) -> None:
        """Pass a board's connection on, until either side is gone; it is among the connections meanwhile."""
        try:
            await network.opened(up=True)
            if network.stands_in():
                await _stand_in(network, route, board, to_board)
                return
            server, to_server = await asyncio.open_connection(route.to_host, route.to_port)
        except (OSError, UnicodeError):  # the latter is of a name that no host can have
            to_board.close()
            return
        except asyncio.CancelledError:
            to_board.close()
            raise
        connection = cls(network, route, to_board, to_server)
        connections.add(connection)
        try:
            async with asyncio.TaskGroup() as ways:
                for reader, up in ((board, True), (server, False)):
                    connection.join(ways, _messages(route, reader), up=up)
        except* OSError:
            pass  # one end is gone: the other one is told by the close
        finally:
            connections.discard(connection)
            to_board.close()
            to_server.close()

    def join(self, ways: asyncio.TaskGroup, messages: AsyncIterator[bytes], *, up: bool) -> None:
        """Begin with a direction."""
        sent: asyncio.Queue[_Sent | None] = asyncio.Queue(_QUEUE)
        ways.create_task(self._hear(messages, sent, up=up))
        ways.create_task(self._pass_on(sent, up=up))

    def hit(self, kind: Kind) -> None:
        """Be reset, or half open, from now on."""
        if kind is Kind.HALF_OPEN:
            self._silent = True
        else:
            for writer in self._to.values():
                _reset(writer)

    async def _hear(self, messages: AsyncIterator[bytes], sent: asyncio.Queue[_Sent | None], *, up: bool) -> None:
        """Decide about what one end says. Raises OSError if that was the last of the connection."""
        async for message in messages:
            if self._silent:
                continue  # heard to its end, or nobody would find out that both ends are gone
            ruling = self._network.judge(self._route, message, up=up)
            if Kind.RESET in ruling.met:
                self.hit(Kind.RESET)
                raise ConnectionResetError
            if Kind.HALF_OPEN in ruling.met:
                self.hit(Kind.HALF_OPEN)
            is_usual = ruling.bytes_per_s == self._network.bandwidth(up=up)
            for data in ruling.pieces:
                await sent.put(
                    _Sent(
                        due=self._loop.time() + ruling.late_s,
                        data=data,
                        bytes_per_s=0 if is_usual else ruling.bytes_per_s,
                        ends=Kind.TRUNCATE in ruling.met,
                    )
                )
        await sent.put(None)

    async def _pass_on(self, sent: asyncio.Queue[_Sent | None], *, up: bool) -> None:
        """Say what is due, and the end. Raises OSError when the other end is gone."""
        to = self._to[up]
        while (each := await sent.get()) is not None:
            await asyncio.sleep(each.due - self._loop.time())
            await self._network.opened(up=up)
            await self._write(to, each, up=up)
            if each.ends:
                raise ConnectionAbortedError
        await self._network.opened(up=up)
        if not self._silent:
            to.write_eof()

    async def _write(self, to: asyncio.StreamWriter, sent: _Sent, *, up: bool) -> None:
        """Say it, as fast as the network is meanwhile."""
        at, free = 0, self._loop.time()
        while at < len(sent.data):
            if self._network.is_closed(up=up):
                await self._network.opened(up=up)
                free = self._loop.time()
            rate = sent.bytes_per_s or self._network.bandwidth(up=up)
            size = max(int(rate / _BEAT_HZ), 1) if rate else len(sent.data)
            to.write(sent.data[at : at + size])
            await to.drain()
            at += size
            if rate:
                free += size / rate
                await asyncio.sleep(free - self._loop.time())


def _messages(route: Route, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    return (route.protocol.framing or framing.chunks)(reader)


async def _stand_in(
    network: Network, route: Route, board: asyncio.StreamReader, to_board: asyncio.StreamWriter
) -> None:
    """Answer the first thing that a board says, and hear no more of it."""
    try:
        async for message in _messages(route, board):
            to_board.write(network.stand_in(route, message) or b"")
            to_board.write_eof()
            break
        while await board.read(_CHUNK):  # a close with something unread would take the answer back
            pass
    finally:
        to_board.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST: that is what a close without lingering is."""
    with contextlib.suppress(OSError):  # its end is gone, and so is the socket
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
