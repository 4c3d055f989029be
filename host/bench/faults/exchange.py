"""Faults of the provisioning exchange over MQTT: it is lost, cut, doubled, delayed or replaced.

    exchange = ExchangeFaults([ExchangeFault(ExchangeFaultKind.DROP_ANSWER)])
    with Network([Route(to_port=1883, protocol=Protocol.MQTT)], handler=exchange) as network: ...

Each provision session that passes meets the next fault of a list; when the list is used up, and for all other
sessions, it is a good network.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from bench.faults.network.framing import Route
from bench.faults.network.handler import HandledConnection, Handler
from bench.mqtt.codec import PacketType

_PROVISION = b"provision"


class ExchangeFaultKind(Enum):
    """Kinds of faults, by the step of the exchange that they hit."""

    DROP_CONNECTION = auto()  # before the request
    DROP_REQUEST = auto()  # the server never sees it
    HOLD_REQUEST = auto()  # the server sees it just before the request of the next session
    DROP_ANSWER = auto()  # after the server's commit
    CUT_ANSWER = auto()  # after `size` bytes of it
    DOUBLE_ANSWER = auto()
    LATE_ANSWER = auto()  # when the board has given up
    REPLACE_ANSWER = auto()  # by `data`


@dataclass(frozen=True)
class ExchangeFault:
    """One fault of an exchange; `size` and `data` are for the kinds that name them."""

    kind: ExchangeFaultKind
    size: int = 0
    data: bytes = b""


class ExchangeFaults:
    """The faults of the exchanges through a network, whose `handler` this is."""

    def __init__(self, faults: Iterable[ExchangeFault]) -> None:
        """Plan faults.

        Args:
            faults: One for each provision session, in the order in which they connect; later sessions have none.
        """
        self._faults = list(faults)
        self._held = b""
        self.happened: list[ExchangeFault] = []
        """Faults that sessions have met so far."""

    def __call__(self, _route: Route) -> Handler:
        """Return the handler of a new connection."""
        return _ExchangeHandler(self)

    def next_fault(self) -> ExchangeFault | None:
        """Return the fault for a provision session that begins."""
        if not self._faults:
            return None
        self.happened.append(self._faults.pop(0))
        return self.happened[-1]

    def hold(self, packet: bytes) -> None:
        """Store a request for later."""
        self._held = packet

    def release(self) -> bytes:
        """Return the stored request, once; b"" if there is none."""
        held, self._held = self._held, b""
        return held


class _ExchangeHandler(Handler):
    """The handler of one connection."""

    def __init__(self, faults: ExchangeFaults) -> None:
        self._faults = faults
        self._fault: ExchangeFault | None = None
        self._held_answers = 0

    async def up(self, connection: HandledConnection, packet: bytes) -> None:
        if packet[0] >> 4 == PacketType.CONNECT and _PROVISION in packet:
            self._fault = self._faults.next_fault()
            if self._is(ExchangeFaultKind.DROP_CONNECTION):
                await connection.hang_up()
        if packet[0] >> 4 == PacketType.PUBLISH:
            if self._is(ExchangeFaultKind.HOLD_REQUEST):
                self._faults.hold(packet)
                await connection.hang_up()
            if self._is(ExchangeFaultKind.DROP_REQUEST):
                await connection.hang_up()
            if held := self._faults.release():
                await connection.to_server(held)
                self._held_answers += 1
        await connection.to_server(packet)

    async def down(self, connection: HandledConnection, packet: bytes) -> None:
        if packet[0] >> 4 != PacketType.PUBLISH:
            await connection.to_board(packet)
        elif self._held_answers:  # the session that requested it is gone
            self._held_answers -= 1
        else:
            await self._answer(connection, packet)

    async def _answer(self, connection: HandledConnection, packet: bytes) -> None:
        fault = self._fault
        match fault.kind if fault else None:
            case ExchangeFaultKind.DROP_ANSWER:
                await connection.hang_up()
            case ExchangeFaultKind.CUT_ANSWER:
                assert fault is not None
                await connection.to_board(packet[: fault.size])
                await connection.hang_up()
            case ExchangeFaultKind.DOUBLE_ANSWER:
                await connection.to_board(packet + packet)
            case ExchangeFaultKind.LATE_ANSWER:
                await connection.gone.wait()
                await connection.to_board(packet)
            case ExchangeFaultKind.REPLACE_ANSWER:
                assert fault is not None
                await connection.to_board(fault.data)
            case _:
                await connection.to_board(packet)

    def _is(self, kind: ExchangeFaultKind) -> bool:
        return self._fault is not None and self._fault.kind is kind
