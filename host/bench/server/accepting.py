"""Accepting TCP connections, with and without TLS."""

import asyncio
import os
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.server.connections import Connections, Slot

# Connections that are accepted in a row before those that are there get their turn.
_AT_ONCE = 64
# Without files (or memory) nothing is accepted for so long.
_PAUSE_S = 1.0


Accept = Callable[[Slot], asyncio.BaseProtocol]
"""Returns the protocol of a new connection."""


@dataclass(frozen=True)
class Tls:
    """A context, and the seconds that a handshake and the end of TLS may take."""

    context: ssl.SSLContext
    handshake_s: float
    shutdown_s: float

    def protocol(
        self,
        inner: asyncio.BaseProtocol,
        handshake: asyncio.Future[None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> sslproto.SSLProtocol:
        """Return the protocol of TLS for a connection: asyncio's, whatever loop there is.

        Args:
            inner: The protocol of what is in it.
            handshake: Done with the handshake, or with its failure.
            on_lost: Called once the connection is lost, also by a failed handshake, after which `inner` is not called.
        """
        made = _TlsProtocol(
            asyncio.get_running_loop(),
            inner,
            self.context,
            handshake,  # type: ignore[arg-type] # None if nobody waits
            server_side=True,
            ssl_handshake_timeout=self.handshake_s,  # type: ignore[arg-type] # any number of seconds
            ssl_shutdown_timeout=self.shutdown_s,
        )
        made.on_lost = on_lost
        return made


class _TlsProtocol(sslproto.SSLProtocol):
    on_lost: Callable[[], None] | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()


class Listener:
    """Accepts connections of one socket.

    asyncio's own accepts without a bound, and says so a thousand times a second when there are no files left.

    Args:
        listening: The socket, which listens and does not block.
        protocol: Returns the protocol of a new connection.
        connections: All that there are.
        tls: None for a transport without it.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Accept,
        connections: Connections,
        tls: Tls | None,
    ) -> None:
        self._socket = listening
        self._protocol = protocol
        self._connections = connections
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept no more connections. Those that are there stay."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no files or no memory are left
                self._pause(error)
                return
            slot = self._connections.admit(str(address[0]))
            if slot is None:
                accepted.close()
                continue
            task = self._loop.create_task(self._connect(accepted, slot))
            slot.abort = task.cancel  # its reference, too: a task that nobody holds may vanish
            task.add_done_callback(partial(self._connected, accepted, slot))

    async def _connect(self, accepted: socket.socket, slot: Slot) -> asyncio.Transport:
        """Do the handshake, if there is one; from then on the connection is the protocol's."""
        protocol = self._protocol(slot)
        if self._tls is None:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, accepted)
            return transport
        handshake = self._loop.create_future()
        tls = self._tls.protocol(protocol, handshake)
        inner = tls._app_transport  # noqa: SLF001 - as asyncio does it; at the end of the connection it is forgotten
        try:
            await self._loop.connect_accepted_socket(lambda: tls, accepted)
            await handshake
        except BaseException:
            inner.close()
            raise
        return inner

    def _connected(self, accepted: socket.socket, slot: Slot, connecting: "asyncio.Task[asyncio.Transport]") -> None:
        error = None if connecting.cancelled() else connecting.exception()
        if connecting.cancelled() or error:
            slot.release()
            accepted.close()
        else:
            transport = connecting.result()
            slot.abort = transport.abort
            if slot.released:  # while this was about to be called
                transport.abort()
        if error and not isinstance(error, OSError):  # a failed handshake is an OSError, and the client's own affair
            self._connections.journal.failure(error)

    def _pause(self, error: OSError) -> None:
        self._loop.remove_reader(self._socket)
        self._again = self._loop.call_later(_PAUSE_S, self._loop.add_reader, self._socket, self._accept)
        self._connections.journal.write_rarely(
            "cannot_accept", why=os.strerror(error.errno or 0), connections=len(self._connections)
        )
