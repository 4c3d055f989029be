"""What stands between a board and the bench's server: two ports that stay, every packet heard, and a way with them.

TLS ends here, so that the checks read what is under it, and so that any certificate can be shown. The server
behind is spoken to in clear.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from bench.conformance.board.connection import Connection
from bench.conformance.board.session import Session
from bench.conformance.board.ways import HungUp, Way
from bench.faults.network.proxy import Listener, Proxy

T = TypeVar("T")


class Network(Proxy):
    """Listens for a board. `way` is what it does with packets, `shown` the certificate for those that begin with TLS.

    `ports` 0 are any free ones. Entering it raises BenchError for a port that is taken.
    """

    def __init__(self, server_port: int, address: str, ports: tuple[int, int], shown: ssl.SSLContext) -> None:
        super().__init__()
        self._address = address
        self.ports = ports
        """Where it listens: in clear, and under TLS."""
        self.server_port = server_port
        self.way = Way()
        self.shown = shown
        self.sessions: list[Session] = []
        """All connections so far, by their numbers."""
        self._lines: dict[Session, Connection] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._changed = threading.Condition()

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
        self._do(self._cut)

    def say(self, session: Session, packet: bytes) -> None:
        """Tell a board something in a session, on the server's behalf."""

        async def tell() -> None:
            if line := self._lines.get(session):
                with suppress(OSError):
                    await line.to_board(packet)

        self._do(tell)

    def _do(self, what: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await what()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    # From here on it is the network's own thread.

    def _open(self) -> None:
        for tls, port in enumerate(self.ports):
            accept = partial(self._accept, tls=bool(tls))
            self._listeners.append(Listener(accept, self._address, port))
        clear, under_tls = self._listeners
        self.ports = clear.port, under_tls.port

    async def _shut(self) -> None:
        for listener in self._listeners:
            listener.close()
        await self._cut()

    async def _reopen(self) -> None:
        for listener in self._listeners:
            listener.open()

    async def _cut(self) -> None:
        await super()._cut()
        await asyncio.gather(*self._closing)

    def _accept(self, connection: socket.socket, *, tls: bool) -> None:
        self._begin(self._serve_board(connection, tls=tls))

    async def _serve_board(self, connection: socket.socket, *, tls: bool) -> None:
        session = Session(len(self.sessions), tls=tls)
        line = self._lines[session] = Connection(self, session, connection)
        self.sessions.append(session)
        self.changed()
        try:
            await self.way.opened(line)
            await line.run()
        except (HungUp, OSError):
            pass  # one end is gone: the other one is told by the close
        finally:
            closing = asyncio.create_task(line.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)
            del self._lines[session]
            session.closed = time.monotonic()
            self.changed()
