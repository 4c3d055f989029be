"""A network that loses, cuts, doubles, delays and garbles the provisioning exchange over MQTT.

It stands between a board and the server. Each provision session that passes meets the next fault
of a list; when the list is used up, and for all other sessions, it is a good network.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from bench.faults.network.framing import mqtt_packets
from bench.faults.network.proxy import HOST, Proxy
from bench.mqtt.codec import PacketType

_PROVISION = b"provision"


class Kind(Enum):
    """At which step, and what."""

    DROP_CONNECTION = auto()  # before the request
    DROP_REQUEST = auto()  # the server never sees it
    HOLD_REQUEST = auto()  # the server sees it when the next session asks, just before that one's request
    DROP_ANSWER = auto()  # after the server's commit
    CUT_ANSWER = auto()  # after `size` bytes of it
    DOUBLE_ANSWER = auto()
    LATE_ANSWER = auto()  # when the board has given up
    REPLACE_ANSWER = auto()  # by `data`


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    kind: Kind
    size: int = 0
    data: bytes = b""


class _Dropped(Exception):
    """This connection is over."""


class FaultyNetwork(Proxy):
    """A TCP proxy. `port` is where boards connect."""

    def __init__(self, server_port: int, faults: Iterable[Fault]) -> None:
        super().__init__()
        self._server_port = server_port
        self._faults = list(faults)
        self._held = b""
        self.met: list[Fault] = []
        """The faults that did happen."""
        self.port = 0

    def _open(self) -> None:
        self.port = self._listen(self._pass).port

    async def _pass(self, board: asyncio.StreamReader, to_board: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(HOST, self._server_port)
        except OSError:
            to_board.close()
            return
        fault = _Session(self, board, to_board, server, to_server)
        try:
            await fault.run()
        finally:
            to_board.close()
            to_server.close()

    def next_fault(self) -> Fault | None:
        """The fault for a provision session that begins."""
        if not self._faults:
            return None
        self.met.append(self._faults.pop(0))
        return self.met[-1]

    def hold(self, packet: bytes) -> None:
        """Keep a request for later."""
        self._held = packet

    def release(self) -> bytes:
        """The request that was kept."""
        held, self._held = self._held, b""
        return held


class _Session:
    """One connection through the proxy."""

    def __init__(
        self,
        network: FaultyNetwork,
        board: asyncio.StreamReader,
        to_board: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._network = network
        self._board, self._to_board = board, to_board
        self._server, self._to_server = server, to_server
        self._fault: Fault | None = None
        self._held_answers = 0
        self._gone = asyncio.Event()

    async def run(self) -> None:
        """Until either side is gone."""
        ways = {asyncio.create_task(self._up()), asyncio.create_task(self._down())}
        done, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for task in done:
            if (error := task.exception()) and not isinstance(error, (_Dropped, OSError)):
                raise error

    async def _up(self) -> None:
        try:
            async for packet in mqtt_packets(self._board):
                if packet[0] >> 4 == PacketType.CONNECT and _PROVISION in packet:
                    self._fault = self._network.next_fault()
                    if self._is(Kind.DROP_CONNECTION):
                        raise _Dropped
                if packet[0] >> 4 == PacketType.PUBLISH and self._is(Kind.HOLD_REQUEST):
                    self._network.hold(packet)
                    raise _Dropped
                if packet[0] >> 4 == PacketType.PUBLISH and self._is(Kind.DROP_REQUEST):
                    raise _Dropped
                if packet[0] >> 4 == PacketType.PUBLISH and (held := self._network.release()):
                    self._to_server.write(held)
                    self._held_answers += 1
                self._to_server.write(packet)
        finally:
            self._gone.set()

    async def _down(self) -> None:
        async for packet in mqtt_packets(self._server):
            if packet[0] >> 4 != PacketType.PUBLISH:
                self._to_board.write(packet)
            elif self._held_answers:  # whoever asked that is gone
                self._held_answers -= 1
            else:
                await self._answer(packet)

    async def _answer(self, packet: bytes) -> None:
        fault = self._fault
        match fault.kind if fault else None:
            case Kind.DROP_ANSWER:
                raise _Dropped
            case Kind.CUT_ANSWER:
                assert fault is not None
                self._to_board.write(packet[: fault.size])
                await self._to_board.drain()
                raise _Dropped
            case Kind.DOUBLE_ANSWER:
                self._to_board.write(packet + packet)
            case Kind.LATE_ANSWER:
                await self._gone.wait()
                self._to_board.write(packet)
            case Kind.REPLACE_ANSWER:
                assert fault is not None
                self._to_board.write(fault.data)
            case _:
                self._to_board.write(packet)

    def _is(self, kind: Kind) -> bool:
        return self._fault is not None and self._fault.kind is kind
