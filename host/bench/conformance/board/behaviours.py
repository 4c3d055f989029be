"""Behaviours of the network towards a board's packets: a good one, and those that something is wrong with."""

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
    """A connection, as a behaviour sees it."""

    session: BoardSession
    gone: asyncio.Event
    """The board has left."""

    @abstractmethod
    async def to_server(self, packet: bytes) -> None:
        """Send the server a packet."""

    @abstractmethod
    async def to_board(self, packet: bytes) -> None:
        """Send the board a packet, or a piece of one."""

    @abstractmethod
    async def hang_up(self, *, hard: bool = False) -> None:
        """End the connection, `hard` with a RST. Raises HungUp."""

    @abstractmethod
    def changed(self) -> None:
        """Wake whoever waits for the behaviour to be applied."""


class Behaviour:
    """A good network. Others change what they are about."""

    def __init__(self) -> None:
        self.applied = 0
        """How often it changed something."""

    def count(self, line: InterceptedConnection) -> None:
        """Count that something was changed."""
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
    """Every connection is reset as soon as it is made."""

    async def opened(self, line: InterceptedConnection) -> None:
        self.count(line)
        await line.hang_up(hard=True)


class Silent(Behaviour):
    """Connections are taken, and nothing ever comes, nor goes on; those too that were good before."""

    async def up(self, line: InterceptedConnection, _packet: bytes) -> None:
        line.session.dead = True
        self.count(line)

    async def down(self, line: InterceptedConnection, _packet: bytes) -> None:
        line.session.dead = True


class Refusing(Behaviour):
    """Logins are refused with a CONNACK of this return code; provisioning is let through unless it is `all_of_them`."""

    def __init__(self, code: int, *, all_of_them: bool = False) -> None:
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
    """Logins work, and then the connection ends."""

    async def down(self, line: InterceptedConnection, packet: bytes) -> None:
        await line.to_board(packet)
        if packet[0] >> 4 == PacketType.CONNACK and not line.session.is_provisioning:
            self.count(line)
            await line.hang_up()


class Swallowing(Behaviour):
    """Packets to be acknowledged reach the server, and are never acknowledged, once the board is logged in."""

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
    """Everything comes to the board in pieces: the begin of a packet byte by byte, and so its last one."""

    async def down(self, line: InterceptedConnection, packet: bytes) -> None:
        self.count(line)
        for begin, end in pairwise((0, *_CUTS, max(len(packet) - 1, _CUTS[-1]), len(packet))):
            if piece := packet[begin:end]:
                await line.to_board(piece)
                await asyncio.sleep(_PAUSE_S)


class Joining(Behaviour):
    """With a SUBACK come messages on what was subscribed to, in one piece."""

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
    """The server decides, but with its first `times` answers to provisioning requests something goes wrong."""

    def __init__(self, spoil: Spoil, times: int = 1) -> None:
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
    """End the connection instead."""
    await line.hang_up()


async def held(line: InterceptedConnection, _answer: bytes) -> None:
    """Let nothing come, and nothing else either."""
    line.session.dead = True


async def late(line: InterceptedConnection, answer: bytes) -> None:
    """Send it when the board has given up."""
    await line.gone.wait()
    await line.to_board(answer)


async def doubled(line: InterceptedConnection, answer: bytes) -> None:
    """Send it twice."""
    await line.to_board(answer + answer)


async def cut_short(line: InterceptedConnection, answer: bytes) -> None:
    """Send half of it, and end the connection."""
    await line.to_board(answer[: len(answer) // 2])
    await line.hang_up()


class Replying(Behaviour):
    """Provisioning requests are replied to with these payloads, and never reach the server.

    The last payload is for all that follow; or (`then_good`) those reach it again.
    """

    def __init__(self, *payloads: bytes, then_good: bool = False) -> None:
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
