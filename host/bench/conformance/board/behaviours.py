"""Behaviours of the network towards a board's packets: a good one, and faulty ones."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

from bench.conformance.board.session import BoardSession
from bench.mqtt import codec
from bench.mqtt.codec import PacketType, Publish

ANSWER = "/provision/response"

# Where a packet is cut, and seconds between the pieces: enough for a busy board to have read one.
_CUTS = (1, 2, 3)
_PAUSE_S = 0.03


class InterceptedConnection(ABC):
    """A board's connection, as a behaviour sees it."""

    session: BoardSession
    gone: asyncio.Event
    """Set once the board has left."""

    @abstractmethod
    async def to_server(self, packet: bytes) -> None:
        """Send the server a packet.

        Raises:
            OSError: The connection is gone.
        """

    @abstractmethod
    async def to_board(self, packet: bytes) -> None:
        """Send the board a packet, or a piece of one, and record it.

        Raises:
            OSError: The connection is gone.
        """

    @abstractmethod
    async def hang_up(self, *, hard: bool = False) -> None:
        """End the connection.

        Args:
            hard: True to end it at once with an RST; False: once the board was sent everything.

        Raises:
            HungUp: In any case, for the network, which ends the connection.
        """

    @abstractmethod
    def changed(self) -> None:
        """Wake those who wait for the behaviour to be applied."""


class Behaviour:
    """A good network: every packet is passed on. Subclasses override the methods for their fault."""

    def __init__(self) -> None:
        self.applied = 0
        """Number of times that it changed something."""

    def count(self, line: InterceptedConnection) -> None:
        """Count a change to this connection."""
        self.applied += 1
        line.changed()

    async def opened(self, line: InterceptedConnection) -> None:
        """Handle a new connection, of which nothing was read yet."""

    async def up(self, line: InterceptedConnection, packet: bytes) -> None:
        """Handle a packet from the board."""
        await line.to_server(packet)

    async def down(self, line: InterceptedConnection, packet: bytes) -> None:
        """Handle a packet from the server."""
        await line.to_board(packet)


class Resetting(Behaviour):
    """A network that resets every connection as soon as it is made."""

    async def opened(self, line: InterceptedConnection) -> None:
        self.count(line)
        await line.hang_up(hard=True)


class Silent(Behaviour):
    """A network that accepts connections and passes on nothing, either way; open connections go dead, too."""

    async def up(self, line: InterceptedConnection, _packet: bytes) -> None:
        line.session.dead = True
        self.count(line)

    async def down(self, line: InterceptedConnection, _packet: bytes) -> None:
        line.session.dead = True


class Refusing(Behaviour):
    """A server that refuses logins with a CONNACK."""

    def __init__(self, code: int, *, all_of_them: bool = False) -> None:
        """Make the behaviour.

        Args:
            code: The return code of MQTT 3.1.1: 3 or 5. Boards with MQTT 5 get the reason code of the same meaning.
            all_of_them: True to refuse connections for provisioning, too; False: they are let through.
        """
        super().__init__()
        self._code = code
        self._all = all_of_them

    async def up(self, line: InterceptedConnection, packet: bytes) -> None:
        if packet[0] >> 4 != PacketType.CONNECT or (line.session.is_provisioning and not self._all):
            await line.to_server(packet)
            return
        self.count(line)
        await line.to_board(line.session.refusal(self._code))
        await line.hang_up()


class DroppingLogins(Behaviour):
    """A server that accepts logins, and then ends the connection."""

    async def down(self, line: InterceptedConnection, packet: bytes) -> None:
        await line.to_board(packet)
        if packet[0] >> 4 == PacketType.CONNACK and not line.session.is_provisioning:
            self.count(line)
            await line.hang_up()


class Swallowing(Behaviour):
    """A network that loses acknowledgements (PUBACK, PUBREC, SUBACK) once the board is logged in.

    The packets that they are for do reach the server.
    """

    async def down(self, line: InterceptedConnection, packet: bytes) -> None:
        if line.session.is_provisioning or packet[0] >> 4 not in (
            PacketType.PUBACK,
            PacketType.PUBREC,
            PacketType.SUBACK,
        ):
            await line.to_board(packet)
        else:
            self.count(line)


class Splitting(Behaviour):
    """A network that delivers packets to the board in pieces: the first three bytes and the last, each alone."""

    async def down(self, line: InterceptedConnection, packet: bytes) -> None:
        self.count(line)
        for begin, end in pairwise((0, *_CUTS, max(len(packet) - 1, _CUTS[-1]), len(packet))):
            if piece := packet[begin:end]:
                await line.to_board(piece)
                await asyncio.sleep(_PAUSE_S)


class Joining(Behaviour):
    """A server that sends two messages on the subscribed topic together with the SUBACK, in one piece."""

    async def down(self, line: InterceptedConnection, packet: bytes) -> None:
        session = line.session
        if session.is_provisioning or packet[0] >> 4 != PacketType.SUBACK:
            await line.to_board(packet)
            return
        self.count(line)
        topic = session.filters[-1].replace("+", "1").replace("#", "1")
        await line.to_board(packet + session.message(topic, b"{}") * 2)


Spoil = Callable[[InterceptedConnection, bytes], Awaitable[None]]


class Answering(Behaviour):
    """A good server whose first answers to provisioning requests are spoiled on their way."""

    def __init__(self, spoil: Spoil, times: int = 1) -> None:
        """Make the behaviour.

        Args:
            spoil: Called in place of sending the answer, with the connection and the packet, e.g. `lost`.
            times: The number of answers to spoil.
        """
        super().__init__()
        self._spoil = spoil
        self._times = times

    async def down(self, line: InterceptedConnection, packet: bytes) -> None:
        is_answer = line.session.is_provisioning and packet[0] >> 4 == PacketType.PUBLISH
        if not is_answer or self.applied >= self._times:
            await line.to_board(packet)
            return
        self.count(line)
        await self._spoil(line, packet)


async def lost(line: InterceptedConnection, _answer: bytes) -> None:
    """End the connection instead of sending the answer."""
    await line.hang_up()


async def held(line: InterceptedConnection, _answer: bytes) -> None:
    """Hold back the answer, and everything after it: the connection stays open and dead."""
    line.session.dead = True


async def late(line: InterceptedConnection, answer: bytes) -> None:
    """Send the answer once the board has given up."""
    await line.gone.wait()
    await line.to_board(answer)


async def doubled(line: InterceptedConnection, answer: bytes) -> None:
    """Send the answer twice."""
    await line.to_board(answer + answer)


async def cut_short(line: InterceptedConnection, answer: bytes) -> None:
    """Send half of the answer, and end the connection."""
    await line.to_board(answer[: len(answer) // 2])
    await line.hang_up()


class Replying(Behaviour):
    """A server that answers provisioning requests with given payloads; the requests never reach the real one."""

    def __init__(self, *payloads: bytes, then_good: bool = False) -> None:
        """Make the behaviour.

        Args:
            *payloads: The payloads of the answers, one a request, in this order.
            then_good: True if later requests reach the server again; False: all of them get the last payload.
        """
        super().__init__()
        self._payloads: Sequence[bytes] = payloads
        self._then_good = then_good

    async def up(self, line: InterceptedConnection, packet: bytes) -> None:
        request = line.session.received[-1].packet
        used_up = self._then_good and self.applied >= len(self._payloads)
        if used_up or not line.session.is_provisioning or not isinstance(request, Publish):
            await line.to_server(packet)
            return
        payload = self._payloads[min(self.applied, len(self._payloads) - 1)]
        self.count(line)
        acknowledgement = codec.puback(request.packet_id, level=line.session.level) if request.qos else b""
        await line.to_board(acknowledgement + line.session.message(ANSWER, payload))
