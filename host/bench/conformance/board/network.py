"""A network between a board and the bench's server: two ports that stay, a record of every packet, and a behaviour.

TLS ends here, so that the checks read what is under it, and so that any certificate can be shown. The connection to
the server behind is in clear.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from bench.conformance.board.behaviours import Behaviour
from bench.conformance.board.connection import BoardConnection
from bench.conformance.board.session import BoardSession
from bench.faults.network.framing import Protocol, Route
from bench.faults.network.network import Network

T = TypeVar("T")


class BoardNetwork(Network):
    """A network that records what a board does. A context manager; entering it raises BenchError for a taken port.

    Args:
        server_port: The server's port of MQTT in clear, on this machine.
        address: The address to listen on.
        ports: The ports for boards, in clear and under TLS; 0 for any free one.
        shown: The certificate for boards that begin with TLS.
    """

    def __init__(self, server_port: int, address: str, ports: tuple[int, int], shown: ssl.SSLContext) -> None:
        # TCP: bytes that are not MQTT are recorded, too
        routes = [Route(to_port=server_port, protocol=Protocol.TCP, port=port) for port in ports]
        tls = routes[1]
        super().__init__(routes, host=address, handler=lambda route: self._record(tls=route is tls))
        self.behaviour = Behaviour()
        """The present behaviour towards packets."""
        self.shown = shown
        self.sessions: list[BoardSession] = []
        """All connections so far; the index is the connection's number."""
        self._lines: dict[BoardSession, BoardConnection] = {}
        self._changed = threading.Condition()

    def since(self, mark: int) -> list[BoardSession]:
        """Return the connections from the one of this number on."""
        return self.sessions[mark:]

    def wait(self, find: Callable[[], T | None], within_s: float) -> T | None:
        """Wait until something has passed.

        Args:
            find: Called at once and whenever something passes, until its result is true.
            within_s: Seconds to wait.

        Returns:
            The last result of `find`: a false one if the time is over.
        """
        with self._changed:
            return self._changed.wait_for(find, within_s)

    def changed(self) -> None:
        """Wake those who wait, to look again."""
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def behaving(self, behaviour: Behaviour) -> Iterator[Behaviour]:
        """Have the network behave so in the block, on open connections, too; yield the behaviour."""
        self.behaviour = behaviour
        try:
            yield behaviour
        finally:
            self.behaviour = Behaviour()

    @contextmanager
    def showing(self, context: ssl.SSLContext) -> Iterator[None]:
        """Show another certificate to new connections in the block."""
        usual, self.shown = self.shown, context
        try:
            yield
        finally:
            self.shown = usual

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Cut all connections, and refuse new ones in the block."""
        self.refuse()
        self.cut()
        try:
            yield
        finally:
            self.heal()

    def send(self, session: BoardSession, packet: bytes) -> None:
        """Send a board a packet on the server's behalf. No-op if the session is over.

        Args:
            session: The session to send it in.
            packet: The packet, in the session's version of MQTT.
        """

        async def send() -> None:
            if line := self._lines.get(session):
                with suppress(OSError):
                    await line.to_board(packet)

        asyncio.run_coroutine_threadsafe(send(), self._loop).result()

    # From here on everything runs on the network's own thread.

    def _record(self, *, tls: bool) -> BoardConnection:
        return BoardConnection(self, BoardSession(len(self.sessions), tls=tls))

    def opened(self, line: BoardConnection) -> None:
        """Add a connection that was made."""
        self._lines[line.session] = line
        self.sessions.append(line.session)
        self.changed()

    def closed(self, line: BoardConnection) -> None:
        """Remove a connection that is over."""
        self._lines.pop(line.session, None)
