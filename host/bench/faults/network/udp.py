"""UDP port of the network, and the flows of datagrams between boards and the server."""

import asyncio
import contextlib
import socket
from typing import Any

from bench.faults.network import framing
from bench.faults.network.decide import MessagePolicy
from bench.faults.network.framing import Route
from bench.faults.network.proxy import bind
from bench.faults.network.rules import FaultKind

_SIZE = 65536
_COAP_RST = 0x70
# Most addresses of boards at a time, each with a socket of its own; most late datagrams of each.
_FLOWS = 512
_QUEUE = 1024
# A socket that is connected elsewhere receives nothing: for all others the port is closed.
_NOBODY = 9

Address = tuple[Any, ...]


class UdpPort:
    """A UDP port; closed, it keeps the port, and is not reached. To be made and used on the event loop."""

    def __init__(self, network: MessagePolicy, route: Route, host: str) -> None:
        self._network = network
        self._route = route
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._flows: dict[Address, _Flow] = {}
        self._socket = bind(socket.SOCK_DGRAM, host, route.port)
        self.port = int(self._socket.getsockname()[1])
        self._receiving = True
        self._loop.add_reader(self._socket, self._receive)

    def open(self) -> None:
        """Receive datagrams again."""
        if not self._receiving:
            self._socket.close()
            self._socket = bind(socket.SOCK_DGRAM, self._host, self.port)
            self._loop.add_reader(self._socket, self._receive)
            self._receiving = True

    def close(self) -> None:
        """Be unreachable from now on (ICMP: port unreachable)."""
        if self._receiving:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = bind(socket.SOCK_DGRAM, self._host, self.port)
            self._socket.connect((self._host, _NOBODY))
            self._receiving = False

    def hit(self, kind: FaultKind) -> None:
        """Make all flows half open, or forget them: UDP has nothing to reset but a NAT's memory."""
        if kind is FaultKind.RESET:
            self.forget()
        for flow in self._flows.values():
            flow.silent = True

    def forget(self) -> None:
        """Forget every board."""
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()

    def end(self) -> None:
        """Give up the port."""
        self.forget()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def answer(self, data: bytes, address: Address, flow: "_Flow") -> None:
        """Send a datagram to a board, if its flow is still the one at this address."""
        # or it is late, and the address may be another board's by now
        if self._flows.get(address) is flow and self._receiving:
            with contextlib.suppress(OSError):
                self._socket.sendto(data, address)

    def _receive(self) -> None:
        try:
            data, address = self._socket.recvfrom(_SIZE)
        except OSError:  # an earlier answer reached no open port
            return
        if self._network.is_unavailable():
            if not self._network.is_blocked(up=True) and (answer := self._network.answer(self._route, data)):
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, address)
            return
        flow = self._flows.pop(address, None)
        try:
            flow = flow or _Flow(self, self._network, self._route, address)
        except (OSError, UnicodeError):  # the server's name has no address, or cannot have one
            return
        self._flows[address] = flow
        if len(self._flows) > _FLOWS:  # as in a NAT: the flow that was silent for longest is dropped
            self._flows.pop(next(iter(self._flows))).close()
        flow.from_board(data)


class _Flow:
    """The datagrams between one address of a board and the server."""

    def __init__(self, port: UdpPort, network: MessagePolicy, route: Route, address: Address) -> None:
        self._port = port
        self._network = network
        self._route = route
        self._address = address
        self._loop = asyncio.get_running_loop()
        self.silent = False
        self._late = 0
        # the time when all earlier datagrams will have passed a slow link, by direction
        self._free = {True: 0.0, False: 0.0}
        # Not through asyncio: its endpoints take a turn of the loop to open.
        family, kind, _, _, place = socket.getaddrinfo(route.to_host, route.to_port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind)
        self._socket.setblocking(False)
        self._socket.connect(place)
        self._loop.add_reader(self._socket, self._from_server)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def from_board(self, data: bytes) -> None:
        self._decide(data, up=True)

    def _from_server(self) -> None:
        try:
            data = self._socket.recv(_SIZE)
        except OSError:
            return  # nothing listens there, which the board will find out
        self._decide(data, up=False)

    def _decide(self, data: bytes, *, up: bool) -> None:
        if self.silent:
            return
        decision = self._network.decide(self._route, data, up=up)
        if self._network.is_blocked(up=up):
            return
        if FaultKind.HALF_OPEN in decision.met:
            self.silent = True
        elif FaultKind.RESET in decision.met and self._route.protocol is framing.Protocol.COAP:
            for way in (True, False):
                self._send(bytes([_COAP_RST, 0]) + data[2:4], up=way)
        for piece in decision.pieces:
            late_s = decision.late_s
            if decision.bytes_per_s:
                now = self._loop.time()
                self._free[up] = max(self._free[up], now) + len(piece) / decision.bytes_per_s
                late_s += self._free[up] - now
            if late_s and self._late == _QUEUE:
                continue  # there is no room for more, as in a router
            if late_s:
                self._late += 1
                self._loop.call_later(late_s, self._send_late, piece, up)
            else:
                self._send(piece, up=up)

    def _send_late(self, data: bytes, up: bool) -> None:  # noqa: FBT001 - call_later has no names
        self._late -= 1
        if not self._network.is_blocked(up=up):
            self._send(data, up=up)

    def _send(self, data: bytes, *, up: bool) -> None:
        if up:
            with contextlib.suppress(OSError):  # the last one found nobody there, or the board is forgotten
                self._socket.send(data)
        else:
            self._port.answer(data, self._address, self)
