"""One connection of a board, heard and passed on packet by packet."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol

from bench.conformance.board.session import Session
from bench.conformance.board.ways import HungUp, Line, Way
from bench.faults.network.framing import mqtt_packets
from bench.faults.network.proxy import HOST
from bench.mqtt.codec import PACKET_LIMIT, MalformedPacket, remaining_length

_CHUNK = 65536
_HANDSHAKE = 0x16  # TLS's record type (RFC 8446, section 5.1)
_HANDSHAKE_S = 60.0
_RST = struct.pack("ii", 1, 0)  # not to linger


class Around(Protocol):
    """What a connection is in."""

    way: Way
    server_port: int
    shown: ssl.SSLContext
    """The certificate for boards that begin with TLS."""

    def changed(self) -> None:
        """Wake who waits for something to pass."""


class Connection(Line):
    """One connection of a board, and the one to the server behind it once there is something for that."""

    def __init__(self, network: Around, session: Session, connection: socket.socket) -> None:
        self._network = network
        self.session = session
        self.gone = asyncio.Event()
        self._socket = connection
        self._board: asyncio.StreamWriter | None = None
        self._server: asyncio.StreamWriter | None = None
        self._dialling: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] | None = None
        self._ways: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        self._hard = False

    async def run(self) -> None:
        """Until either side is gone. Raises OSError or HungUp if it never came to be a connection."""
        self._begin(self._up(await self._meet()))
        await self._over.wait()

    async def close(self) -> None:
        """End it, at both sides. Not to be given up in its middle. Raises what nobody expected."""
        for task in self._ways:
            task.cancel()
        ends = await asyncio.gather(*self._ways, return_exceptions=True)
        if self._dialling:
            with suppress(OSError):
                _, server = await self._dialling
                server.transport.abort()
        if self._hard:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        if self._board:
            self._board.transport.abort()  # what was told is on its way: each packet was drained
        else:
            self._socket.close()
        await asyncio.sleep(0)  # the event loop closes what was aborted in its next turn
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, (HungUp, OSError, asyncio.CancelledError)):
                raise end

    def _begin(self, way: Coroutine[Any, Any, None]) -> None:
        """One of the two ways; the connection is over when either ends."""
        task = asyncio.create_task(way)
        self._ways.append(task)
        task.add_done_callback(lambda _: self._over.set())

    async def to_server(self, packet: bytes) -> None:
        if self._server is None:
            # not given up in its middle: what is open by then would stay so
            self._dialling = asyncio.ensure_future(asyncio.open_connection(HOST, self._network.server_port))
            reader, writer = await asyncio.shield(self._dialling)
            self._server = writer
            self._begin(self._down(reader))
        self._server.write(packet)
        await self._server.drain()

    async def to_board(self, packet: bytes) -> None:
        assert self._board is not None
        self.session.tell(packet)
        self._board.write(packet)
        await self._board.drain()
        self._network.changed()

    def hang_up(self, *, hard: bool = False) -> None:
        self._hard = hard
        raise HungUp

    def changed(self) -> None:
        self._network.changed()

    async def _meet(self) -> asyncio.StreamReader:
        """What the board says from now on, under TLS if it begins so and the port is for it."""
        context = None
        if self.session.tls:
            self.session.in_clear = await self._first_byte() != _HANDSHAKE
            context = None if self.session.in_clear else self._network.shown
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            self._socket,
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE_S if context else None,
        )
        self._board = asyncio.StreamWriter(transport, protocol, reader, loop)
        return reader

    async def _first_byte(self) -> int:
        """The first byte that the board says; it stays where it is."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._socket)
        if not (first := self._socket.recv(1, socket.MSG_PEEK)):
            raise HungUp
        return first[0]

    async def _up(self, board: asyncio.StreamReader) -> None:
        try:
            rest = bytearray()
            while chunk := await board.read(_CHUNK):
                self.session.take(chunk)
                rest += chunk
                try:
                    while packet := _cut_off(rest):
                        self.session.hear(packet)
                        self._network.changed()
                        if not self.session.dead:
                            await self._network.way.up(self, packet)
                except MalformedPacket as fault:
                    self.session.misheard(bytes(rest[:5]), str(fault))
                    raise HungUp from None
        finally:
            self.session.left = board.at_eof() or board.exception() is not None
            self.gone.set()

    async def _down(self, server: asyncio.StreamReader) -> None:
        async for packet in mqtt_packets(server):
            if not self.session.dead:
                await self._network.way.down(self, packet)
        if self.session.dead:
            await asyncio.Event().wait()  # nobody tells the board


def _cut_off(data: bytearray) -> bytes:
    """Take the first whole packet off; nothing if there is none yet. Raises MalformedPacket."""
    found = remaining_length.decode(data)
    if found is None or len(data) < (end := sum(found)):
        if len(data) > PACKET_LIMIT:
            raise MalformedPacket(f"a packet of more than {PACKET_LIMIT} bytes")
        return b""
    packet = bytes(data[:end])
    del data[:end]
    return packet
