"""The server's UDP port, as boards see it."""

import asyncio
import contextlib
import socket
from typing import Any, Protocol

from bench.faults.network import framing
from bench.faults.network.decide import Ruling
from bench.faults.network.framing import Route
from bench.faults.network.proxy import bound
from bench.faults.network.rules import Kind

_SIZE = 65536
_COAP_RST = 0x70
# Addresses of boards that are known at a time, each with a socket of its own; and late datagrams of each.
_FLOWS = 512
_QUEUE = 1024
# Who is connected to somebody else hears nothing: for all others it is as if nobody had the port.
_NOBODY = 9

Address = tuple[Any, ...]


class Network(Protocol):
    """The network, as datagrams see it."""

    def judge(self, route: Route, message: bytes, *, up: bool) -> Ruling: ...
    def is_closed(self, *, up: bool) -> bool: ...
    def stand_in(self, route: Route, request: bytes) -> bytes | None: ...
    def stands_in(self) -> bool: ...


class Datagrams:
    """A UDP port. `closed` it has the port still, and is not reached. Made and used on the event loop."""

    def __init__(self, network: Network, route: Route, host: str) -> None:
        self._network = network
        self._route = route
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._flows: dict[Address, _Flow] = {}
        self._socket = bound(socket.SOCK_DGRAM, host, route.port)
        self.port = int(self._socket.getsockname()[1])
        self._hearing = True
        self._loop.add_reader(self._socket, self._hear)

    def open(self) -> None:
        """Be reached, if it is not."""
        if not self._hearing:
            self._socket.close()
            self._socket = bound(socket.SOCK_DGRAM, self._host, self.port)
            self._loop.add_reader(self._socket, self._hear)
            self._hearing = True

    def close(self) -> None:
        """Be unreachable from now on."""
        if self._hearing:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = bound(socket.SOCK_DGRAM, self._host, self.port)
            self._socket.connect((self._host, _NOBODY))
            self._hearing = False

    def hit(self, kind: Kind) -> None:
        """Make what there is half open; there is nothing to reset but a NAT's memory."""
        if kind is Kind.RESET:
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

    def say(self, answer: bytes, address: Address, flow: "_Flow") -> None:
        """Tell a board."""
        # or it is late, and the address may be another board's by now
        if self._flows.get(address) is flow and self._hearing:
            with contextlib.suppress(OSError):
                self._socket.sendto(answer, address)

    def _hear(self) -> None:
        try:
            data, address = self._socket.recvfrom(_SIZE)
        except OSError:  # what was answered before found nobody
            return
        if self._network.stands_in():
            if not self._network.is_closed(up=True) and (answer := self._network.stand_in(self._route, data)):
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, address)
            return
        flow = self._flows.pop(address, None)
        try:
            flow = flow or _Flow(self, self._network, self._route, address)
        except (OSError, UnicodeError):  # the server's name has no address, or cannot have one
            return
        self._flows[address] = flow
        if len(self._flows) > _FLOWS:  # as a NAT does: who said nothing for longest is forgotten
            self._flows.pop(next(iter(self._flows))).close()
        flow.from_board(data)


class _Flow:
    """The datagrams between one address of a board and the server."""

    def __init__(self, port: Datagrams, network: Network, route: Route, address: Address) -> None:
        self._port = port
        self._network = network
        self._route = route
        self._address = address
        self._loop = asyncio.get_running_loop()
        self.silent = False
        self._late = 0
        # when what was said before will have gone through, of a slow one
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
        self._take(data, up=True)

    def _from_server(self) -> None:
        try:
            data = self._socket.recv(_SIZE)
        except OSError:
            return  # nothing listens there, which the board will find out
        self._take(data, up=False)

    def _take(self, data: bytes, *, up: bool) -> None:
        if self.silent:
            return
        ruling = self._network.judge(self._route, data, up=up)
        if self._network.is_closed(up=up):
            return
        if Kind.HALF_OPEN in ruling.met:
            self.silent = True
        elif Kind.RESET in ruling.met and self._route.protocol is framing.Protocol.COAP:
            for way in (True, False):
                self._give(bytes([_COAP_RST, 0]) + data[2:4], up=way)
        for piece in ruling.pieces:
            late_s = ruling.late_s
            if ruling.bytes_per_s:
                now = self._loop.time()
                self._free[up] = max(self._free[up], now) + len(piece) / ruling.bytes_per_s
                late_s += self._free[up] - now
            if late_s and self._late == _QUEUE:
                continue  # there is no room for more, as in a router
            if late_s:
                self._late += 1
                self._loop.call_later(late_s, self._give_late, piece, up)
            else:
                self._give(piece, up=up)

    def _give_late(self, data: bytes, up: bool) -> None:  # noqa: FBT001 - call_later has no names
        self._late -= 1
        if not self._network.is_closed(up=up):
            self._give(data, up=up)

    def _give(self, data: bytes, *, up: bool) -> None:
        if up:
            with contextlib.suppress(OSError):  # the last one found nobody there, or the board is forgotten
                self._socket.send(data)
        else:
            self._port.say(data, self._address, self)
