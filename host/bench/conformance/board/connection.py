"""One connection of a board: recorded packet by packet, and handled by the present behaviour of the network."""

import ssl
import time
from typing import Protocol

from bench.conformance.board.behaviours import Behaviour, InterceptedConnection
from bench.conformance.board.session import BoardSession
from bench.faults.network.handler import HandledConnection, Handler
from bench.mqtt.codec import PACKET_LIMIT, MalformedPacket, remaining_length

_HANDSHAKE = 0x16  # TLS's record type (RFC 8446, section 5.1)


class Surroundings(Protocol):
    """The network that a connection is part of."""

    behaviour: Behaviour
    shown: ssl.SSLContext
    """The certificate for boards that begin with TLS."""

    def opened(self, line: "BoardConnection") -> None:
        """Add a connection that was made."""

    def closed(self, line: "BoardConnection") -> None:
        """Remove a connection that is over."""

    def changed(self) -> None:
        """Wake those who wait for something to pass."""


class BoardConnection(InterceptedConnection, Handler):
    """The handler of one connection of a board, and its record."""

    def __init__(self, network: Surroundings, session: BoardSession) -> None:
        """Make the handler of a connection that is about to be opened.

        Args:
            network: The network that has the behaviour and the certificate.
            session: The record, which is empty so far.
        """
        self._network = network
        self.session = session
        self._rest = {True: bytearray(), False: bytearray()}

    # For the network.

    async def opened(self, connection: HandledConnection) -> ssl.SSLContext | None:
        self._connection = connection
        self.gone = connection.gone
        self._network.opened(self)
        await self._network.behaviour.opened(self)
        if not self.session.tls:
            return None
        self.session.in_clear = await connection.first_byte() != _HANDSHAKE
        return None if self.session.in_clear else self._network.shown

    async def up(self, _connection: HandledConnection, data: bytes) -> None:
        self.session.record_bytes(data)
        rest = self._rest[True]
        rest += data
        try:
            while packet := _cut_off(rest):
                self.session.record(packet)
                self._network.changed()
                if not self.session.dead:
                    await self._network.behaviour.up(self, packet)
        except MalformedPacket as fault:
            self.session.record_malformed(bytes(rest[:5]), str(fault))
            await self.hang_up()

    async def down(self, _connection: HandledConnection, data: bytes) -> None:
        rest = self._rest[False]
        rest += data
        while packet := _cut_off(rest):
            if not self.session.dead:
                await self._network.behaviour.down(self, packet)

    async def ended(self, _connection: HandledConnection, *, up: bool) -> None:
        if not up and self.session.dead:
            await self.gone.wait()  # a dead network does not pass on the end to the board
        if self.session.closed is None:
            self.session.left = up
            self._end()

    def closed(self) -> None:
        self._end()
        self._network.closed(self)

    def _end(self) -> None:
        if self.session.closed is None:
            self.session.closed = time.monotonic()
        self._network.changed()

    # For behaviours.

    async def to_server(self, packet: bytes) -> None:
        await self._connection.to_server(packet)

    async def to_board(self, packet: bytes) -> None:
        self.session.record_sent(packet)
        await self._connection.to_board(packet)
        self._network.changed()

    async def hang_up(self, *, hard: bool = False) -> None:
        await self._connection.hang_up(hard=hard)

    def changed(self) -> None:
        self._network.changed()


def _cut_off(data: bytearray) -> bytes:
    """Remove the first whole packet, and return it; empty if none is complete yet. Raises MalformedPacket."""
    found = remaining_length.decode(data)
    if found is None or len(data) < (end := sum(found)):
        if len(data) > PACKET_LIMIT:
            raise MalformedPacket(f"a packet of more than {PACKET_LIMIT} bytes")
        return b""
    packet = bytes(data[:end])
    del data[:end]
    return packet
