"""What stands between a board and the bench's server: two ports that stay, every packet heard, and a way with them.

TLS ends here, so that the checks read what is under it, and so that any certificate can be shown. The server
behind is spoken to in clear.
"""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from bench.conformance.board.session import Session
from bench.conformance.board.ways import HungUp, Line, Way
from bench.errors import BenchError
from bench.faults.framing import mqtt_packets
from bench.faults.proxy import HOST, Proxy

T = TypeVar("T")

_CHUNK = 65536
_BACKLOG = 64
_HANDSHAKE = 0x16  # TLS's record type (RFC 8446, section 5.1)
_HANDSHAKE_S = 60.0
_GOODBYE_S = 0.2
_LENGTH_BYTES = 4
_RST = struct.pack("ii", 1, 0)  # not to linger


class Network(Proxy):
    """Listens for a board. `ports` are where, MQTT in clear and under TLS; `way` is what it does with packets."""

    def __init__(self, server_port: int, address: str, ports: tuple[int, int], shown: ssl.SSLContext) -> None:
        super().__init__()
        self.server_port = server_port
        self.way = Way()
        self.shown = shown
        self.sessions: list[Session] = []
        """All connections so far, by their numbers."""
        self._changed = threading.Condition()
        self._doors = [_Door(address, port) for port in ports]

    @property
    def ports(self) -> tuple[int, int]:
        """Where it listens: in clear, and under TLS."""
        clear, tls = self._doors
        return clear.port, tls.port

    def since(self, mark: int) -> list[Session]:
        """The connections from this number on."""
        return self.sessions[mark:]

    def wait(self, find: Callable[[], T | None], within_s: float) -> T | None:
        """What `find` finds, as soon as it does; asked whenever something passes. None after `within_s`."""
        with self._changed:
            return self._changed.wait_for(find, within_s)

    def changed(self) -> None:
        """Wake who waits."""
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def turned(self, way: Way) -> Iterator[Way]:
        """Treat packets that way, of open connections, too."""
        self.way = way
        try:
            yield way
        finally:
            self.way = Way()

    @contextmanager
    def showing(self, context: ssl.SSLContext) -> Iterator[None]:
        """Show another certificate to new connections."""
        usual, self.shown = self.shown, context
        try:
            yield
        finally:
            self.shown = usual

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Cut all connections, and refuse new ones."""
        self._do(self._shut)
        try:
            yield
        finally:
            self._do(self._reopen)

    def cut(self) -> None:
        """End all connections."""
        self._do(self._cut_all)

    def say(self, session: Session, packet: bytes) -> None:
        """Tell a board something in a session, on the server's behalf."""

        async def tell() -> None:
            if line := self._lines.get(session):
                with suppress(OSError):
                    await line.to_board(packet)

        self._do(tell)

    def _do(self, what: Callable[[], Any]) -> None:
        async def run() -> None:
            await what()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    # From here on it is the network's own thread.

    async def _open(self) -> None:
        self._lines: dict[Session, _Connection] = {}
        await self._reopen()

    async def _reopen(self) -> None:
        for door, tls in zip(self._doors, (False, True), strict=True):
            listener = door.open()
            self._loop.add_reader(listener, self._accept, listener, tls)

    async def _shut(self) -> None:
        self._leave()
        await self._cut_all()

    async def _cut_all(self) -> None:
        await self._cut()

    def _leave(self) -> None:
        for door in self._doors:
            self._loop.remove_reader(door.listener)
            door.shut()

    def _close(self) -> None:
        self._leave()
        for door in self._doors:
            door.close()

    def _accept(self, listener: socket.socket, tls: bool) -> None:  # noqa: FBT001 - as the event loop calls it
        with suppress(OSError):  # it is gone already
            connection, _ = listener.accept()
            connection.setblocking(False)
            self._begin(self._serve_board(connection, tls=tls))

    async def _serve_board(self, connection: socket.socket, *, tls: bool) -> None:
        session = Session(len(self.sessions), tls=tls)
        line = self._lines[session] = _Connection(self, session, connection)
        self.sessions.append(session)
        self.changed()
        try:
            await self.way.opened(line)
            await line.run()
        except (HungUp, OSError):
            pass  # one end is gone: the other one is told by the close
        finally:
            del self._lines[session]
            await line.close()
            session.closed = time.monotonic()
            self.changed()


class _Door:
    """A port that stays this board's server's while nobody listens on it."""

    def __init__(self, address: str, port: int) -> None:
        self.listener = self._bind(address, port)
        self.port: int = self.listener.getsockname()[1]
        self._address = address

    def open(self) -> socket.socket:
        """Listen."""
        self.listener.listen(_BACKLOG)
        return self.listener

    def shut(self) -> None:
        """Refuse connections, but keep the port."""
        self.listener.close()
        self.listener = self._bind(self._address, self.port)

    def close(self) -> None:
        self.listener.close()

    @staticmethod
    def _bind(address: str, port: int) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        try:
            bound.bind((address, port))
        except OSError as error:
            bound.close()
            raise BenchError(f"cannot listen on {address} port {port} ({error.strerror}): choose another") from None
        return bound


class _Connection(Line):
    """One connection of a board, and the one to the server behind it once there is something for that."""

    def __init__(self, network: Network, session: Session, connection: socket.socket) -> None:
        self._network = network
        self.session = session
        self.gone = asyncio.Event()
        self._socket = connection
        self._board: asyncio.StreamWriter | None = None
        self._server: asyncio.StreamWriter | None = None
        self._ways: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        self._hard = False

    async def run(self) -> None:
        """Until either side is gone. Raises OSError or HungUp if it never came to be a connection."""
        self._begin(self._up(await self._meet()))
        await self._over.wait()

    async def close(self) -> None:
        """End it, at both sides. Raises what nobody expected."""
        for task in self._ways:
            task.cancel()
        ends = await asyncio.gather(*self._ways, return_exceptions=True)
        if self._hard:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        for writer in filter(None, (self._board, self._server)):
            if not self._hard:
                writer.close()
                with suppress(OSError, TimeoutError):
                    await asyncio.wait_for(writer.wait_closed(), _GOODBYE_S)
            writer.transport.abort()
        if not self._board:
            self._socket.close()
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
            reader, self._server = await asyncio.open_connection(HOST, self._network.server_port)
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
                while packet := _cut_off(rest):
                    self.session.hear(packet)
                    self._network.changed()
                    if not self.session.dead:
                        await self._network.way.up(self, packet)
                if rest and not _may_begin_a_packet(rest):
                    self.session.misheard(bytes(rest[:5]), "the remaining length has more than four bytes (2.2.3)")
                    raise HungUp
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
    """The first whole packet, taken off; nothing if there is none (2.2.3)."""
    length = 0
    for index, byte in enumerate(data[1 : _LENGTH_BYTES + 1]):
        length |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            end = 2 + index + length
            packet = bytes(data[:end])
            if len(packet) < end:
                return b""
            del data[:end]
            return packet
    return b""


def _may_begin_a_packet(data: bytearray) -> bool:
    return len(data) <= _LENGTH_BYTES or not all(byte & 0x80 for byte in data[1 : _LENGTH_BYTES + 1])
