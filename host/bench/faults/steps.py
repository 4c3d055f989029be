"""A network in which one message goes wrong: the n-th of all that pass, whoever says it, over whatever.

The messages are counted across connections, ports and directions: what is told apart is the step of a
board's boot, not where it happens. Before and after the fault it is a good network.
"""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from bench.faults.framing import Framing
from bench.faults.proxy import HOST, Proxy

# Of a slow message, between two bytes.
_PAUSE_S = 0.001
# One byte of so many is changed, and at least one.
_GARBLED = 64
_COAP_RST = 0x70


class Kind(StrEnum):
    """What goes wrong with a message."""

    DROP = "drop"  # it never arrives; on TCP what follows does
    DELAY = "delay"  # it arrives late, and on TCP so does what follows in its direction
    DUPLICATE = "duplicate"
    GARBLE = "garble"  # some of its bytes change
    HALF_OPEN = "half_open"  # from here on nothing passes on this connection, either way, nor does its end
    RESET = "reset"  # both ends get a RST, instead: TCP's, or CoAP's
    SLOW = "slow"  # it comes a byte a millisecond; a datagram after as long


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, with the `step`-th message, from 1. `seed` decides what is garbled."""

    kind: Kind
    step: int
    delay_s: float
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """A message that passed: the server's port, and its direction."""

    server_port: int
    up: bool
    message: bytes


class StepNetwork(Proxy):
    """A proxy for several ports of a server: `routes` gives the framing of each, None for CoAP over UDP.

    `ports` says where boards connect instead. `begin` may be called any number of times.
    """

    def __init__(self, routes: dict[int, Framing | None]) -> None:
        super().__init__()
        self._routes = routes
        self._fault: Fault | None = None
        self._listeners: list[_Listener] = []
        self.ports: dict[int, int] = {}
        self.steps: list[Step] = []
        """What passed since the last `begin`."""

    @property
    def met(self) -> bool:
        """Whether the fault happened."""
        return self._fault is not None and len(self.steps) >= self._fault.step

    def begin(self, fault: Fault | None = None) -> None:
        """Cut what is left of the connections before, and count from 1 again."""

        async def run() -> None:
            await self._cut()
            for listener in self._listeners:
                listener.cut()
            self._fault, self.steps = fault, []

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def pass_on(self, server_port: int, message: bytes, *, up: bool) -> Fault | None:
        """Count a message; returns what goes wrong with it."""
        self.steps.append(Step(server_port=server_port, up=up, message=message))
        fault = self._fault
        return fault if fault and fault.step == len(self.steps) else None

    async def _open(self) -> None:
        for server_port, framing in self._routes.items():
            self.ports[server_port] = await (
                self._listen(_Relay(self, server_port, framing)) if framing else self._listen_udp(server_port)
            )

    async def _listen_udp(self, server_port: int) -> int:
        transport, listener = await self._loop.create_datagram_endpoint(
            lambda: _Listener(self, server_port), local_addr=(HOST, 0)
        )
        self._listeners.append(listener)
        return int(transport.get_extra_info("sockname")[1])

    def _close(self) -> None:
        for listener in self._listeners:
            listener.close()


def garbled(message: bytes, seed: int) -> bytes:
    """The message with one byte of 64 changed, and at least one."""
    draw = random.Random(seed)  # noqa: S311 - it has to come out the same again
    changed = bytearray(message)
    for at in draw.sample(range(len(message)), len(message) // _GARBLED + 1):
        changed[at] ^= draw.randrange(1, 256)
    return bytes(changed)


class _Relay:
    """Passes the TCP connections to one port on, each by a call of its own."""

    def __init__(self, network: StepNetwork, server_port: int, framing: Framing) -> None:
        self._network = network
        self._server_port = server_port
        self._framing = framing

    async def __call__(self, board: asyncio.StreamReader, to_board: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(HOST, self._server_port)
        except OSError:
            to_board.close()
            return
        connection = _Connection(self._network, self._server_port, to_board, to_server)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(connection.pump(self._framing(board), up=True))
                ways.create_task(connection.pump(self._framing(server), up=False))
        except* OSError:
            pass  # one end is gone: the other one is told by the close
        finally:
            to_board.close()
            to_server.close()


class _Connection:
    """One TCP connection through the proxy."""

    def __init__(
        self, network: StepNetwork, server_port: int, to_board: asyncio.StreamWriter, to_server: asyncio.StreamWriter
    ) -> None:
        self._network = network
        self._server_port = server_port
        self._to_board, self._to_server = to_board, to_server
        self._silent = False

    async def pump(self, messages: AsyncIterator[bytes], *, up: bool) -> None:
        """Pass on what one end says, and its end. Raises OSError when the other end is gone."""
        to = self._to_server if up else self._to_board
        async for message in messages:
            if self._silent:
                break
            fault = self._network.pass_on(self._server_port, message, up=up)
            if fault:
                await self._spoil(fault, message, to)
            else:
                to.write(message)
            await to.drain()
        if self._silent:
            await asyncio.Event().wait()  # until everything is cut
        to.write_eof()

    async def _spoil(self, fault: Fault, message: bytes, to: asyncio.StreamWriter) -> None:
        match fault.kind:
            case Kind.DROP:
                pass
            case Kind.DELAY:
                await asyncio.sleep(fault.delay_s)
                to.write(message)
            case Kind.DUPLICATE:
                to.write(message + message)
            case Kind.GARBLE:
                to.write(garbled(message, fault.seed))
            case Kind.HALF_OPEN:
                self._silent = True
            case Kind.RESET:
                _reset(self._to_board)
                _reset(self._to_server)
                raise ConnectionResetError
            case Kind.SLOW:
                for byte in message:
                    to.write(bytes([byte]))
                    await to.drain()
                    await asyncio.sleep(_PAUSE_S)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST: that is what a close without lingering is."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Listener(asyncio.DatagramProtocol):
    """The server's UDP port, as boards see it."""

    def __init__(self, network: StepNetwork, server_port: int) -> None:
        self._network = network
        self._server_port = server_port
        self._flows: dict[tuple[str, int], _Flow] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr not in self._flows:
            self._flows[addr] = _Flow(self._network, self._server_port, lambda answer: self._say(answer, addr))
        self._flows[addr].from_board(data)

    def cut(self) -> None:
        """Forget every board."""
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()

    def close(self) -> None:
        self.cut()
        self._transport.close()

    def _say(self, answer: bytes, addr: tuple[str, int]) -> None:
        if addr in self._flows:  # or it is late, and the address may be another board's by now
            self._transport.sendto(answer, addr)


class _Flow:
    """The datagrams between one address of a board and the server."""

    def __init__(self, network: StepNetwork, server_port: int, to_board: Callable[[bytes], None]) -> None:
        self._network = network
        self._server_port = server_port
        self._to_board = to_board
        self._silent = False
        self._loop = asyncio.get_running_loop()
        # Not through asyncio: its endpoints take a turn of the loop to open.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((HOST, server_port))
        self._loop.add_reader(self._socket, self._from_server)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._silent = True

    def from_board(self, data: bytes) -> None:
        self._pass(data, self._to_server, up=True)

    def _from_server(self) -> None:
        try:
            data = self._socket.recv(65536)
        except OSError:
            return  # nothing listens there, which the board will find out
        self._pass(data, self._to_board, up=False)

    def _to_server(self, data: bytes) -> None:
        if not self._silent:
            self._socket.send(data)

    def _pass(self, data: bytes, to: Callable[[bytes], None], *, up: bool) -> None:
        if self._silent:
            return
        fault = self._network.pass_on(self._server_port, data, up=up)
        if fault:
            self._spoil(fault, data, to)
        else:
            to(data)

    def _spoil(self, fault: Fault, data: bytes, to: Callable[[bytes], None]) -> None:
        match fault.kind:
            case Kind.DROP:
                pass
            case Kind.DELAY:
                self._loop.call_later(fault.delay_s, to, data)
            case Kind.DUPLICATE:
                to(data)
                to(data)
            case Kind.GARBLE:
                to(garbled(data, fault.seed))
            case Kind.HALF_OPEN:
                self._silent = True
            case Kind.RESET:
                for end in (self._to_server, self._to_board):
                    end(bytes([_COAP_RST, 0]) + data[2:4])
            case Kind.SLOW:
                self._loop.call_later(len(data) * _PAUSE_S, to, data)
