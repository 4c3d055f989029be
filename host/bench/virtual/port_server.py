"""A serial port that is served over TCP: with RFC 2217, which pyserial speaks, or with bytes alone."""

import contextlib
import selectors
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Protocol

from serial import PARITY_NONE, STOPBITS_ONE
from serial.rfc2217 import IAC, IAC_DOUBLED, M_NORMAL, PortManager

from bench.errors import BenchError

_RECEIVE = 4096
_UNSENT = 1 << 20  # bytes that a client may be behind; further ones are lost, as in a port's buffer
_LONGEST_OPTION = 64


class Controlled(Protocol):
    """The line behind the port."""

    host_baud: int

    def control(self, *, dtr: bool, rts: bool) -> None:
        """Set DTR and RTS."""

    def drop_typed(self) -> None:
        """Drop bytes that have not reached the board yet."""


class Port:
    """The serial port as pyserial's server sees it: its settings are those of the line."""

    bytesize = 8
    parity = PARITY_NONE
    stopbits = STOPBITS_ONE
    xonxoff = rtscts = break_condition = False
    cts = dsr = ri = cd = False

    def __init__(self, line: Controlled) -> None:
        self._line = line
        self._dtr = self._rts = False

    @property
    def baudrate(self) -> int:
        return self._line.host_baud

    @baudrate.setter
    def baudrate(self, baud: int) -> None:
        self._line.host_baud = baud

    @property
    def dtr(self) -> bool:
        return self._dtr

    @dtr.setter
    def dtr(self, asserted: bool) -> None:
        self._dtr = asserted
        self._line.control(dtr=self._dtr, rts=self._rts)

    @property
    def rts(self) -> bool:
        return self._rts

    @rts.setter
    def rts(self, asserted: bool) -> None:
        self._rts = asserted
        self._line.control(dtr=self._dtr, rts=self._rts)

    def reset_input_buffer(self) -> None:
        """No-op: the board's bytes are with the client already."""

    def reset_output_buffer(self) -> None:
        self._line.drop_typed()


class Client:
    """A client of a raw port, whose bytes are those of the line. `unsent` are bytes for it that wait to be sent."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.socket = connection
        self.unsent = bytearray()

    def receive(self) -> bytes:
        """Return the bytes that the client typed, none if there are none now.

        Raises:
            OSError: The client is gone, or speaks another protocol.
        """
        try:
            data = self.socket.recv(_RECEIVE)
        except BlockingIOError:  # the socket was ready for writing, not for reading
            return b""
        if not data:
            raise ConnectionResetError
        return data

    def send(self, data: bytes) -> None:
        """Queue bytes of the board for the client; they are dropped if it is more than 1 MiB behind."""
        if len(self.unsent) < _UNSENT:
            self.unsent += data

    def flush(self) -> None:
        """Send as many queued bytes as the socket accepts now.

        Raises:
            OSError: The client is gone.
        """
        if self.unsent:
            with contextlib.suppress(BlockingIOError):
                del self.unsent[: self.socket.send(self.unsent)]


class Rfc2217Client(Client):
    """A client with RFC 2217, which sets rate, DTR and RTS, too."""

    def __init__(self, connection: socket.socket, port: Port) -> None:
        super().__init__(connection)
        self._manager = PortManager(port, self)  # type: ignore[arg-type] # both are no more than what it needs

    def write(self, data: bytes) -> None:
        """Queue an answer of the protocol; pyserial's PortManager calls this."""
        self.unsent += data

    def receive(self) -> bytes:
        """See Client."""
        try:
            typed = b"".join(self._typed(super().receive()))
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise ConnectionAbortedError from error
        if len(self._manager.suboption or b"") > _LONGEST_OPTION:
            raise ConnectionAbortedError
        return typed

    def _typed(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes for the board. pyserial is slow with each byte, so it gets only those of the protocol."""
        while data:
            if self._manager.mode == M_NORMAL and self._manager.suboption is None:
                plain = data.partition(IAC)[0]
                yield plain
                data = data[len(plain) :]
            yield from self._manager.filter(data[:1])
            data = data[1:]

    def send(self, data: bytes) -> None:
        """See Client."""
        super().send(data.replace(IAC, IAC_DOUBLED))


class PortServer:
    """A listener on a TCP port, and its client: one at a time, others wait until it is gone. Without a thread."""

    def __init__(self, address: tuple[str, int], port: Port | None) -> None:
        """Listen.

        Args:
            address: Host and TCP port; 0: a free one.
            port: The port that clients set by RFC 2217; None: they send bytes alone.

        Raises:
            BenchError: The port is taken.
        """
        self._port = port
        self._client: Client | None = None
        self._listener: socket.socket | None = _listen(address)
        self._address: tuple[str, int] = self._listener.getsockname()[:2]

    @property
    def url(self) -> str:
        """The port's URL: `rfc2217://...`, or `socket://...` of a raw port."""
        host, port = self._address
        return f"{'rfc2217' if self._port else 'socket'}://{host}:{port}"

    @property
    def is_open(self) -> bool:
        """True until `close`, and again after `reopen`."""
        return self._listener is not None

    def reopen(self) -> None:
        """Listen on the same address again. Raises BenchError if the port was taken meanwhile."""
        self._listener = self._listener or _listen(self._address)

    def close(self) -> None:
        """Disconnect the client, and stop listening. No-op if it is closed."""
        self._hang_up()
        if self._listener:
            self._listener.close()
            self._listener = None

    def register(self, selector: selectors.BaseSelector, *, reads: bool) -> None:
        """Register the sockets to wait for.

        Args:
            selector: Where to register them.
            reads: True if the client's bytes can be received now.
        """
        if self._client:
            events = selectors.EVENT_READ if reads else 0
            events |= selectors.EVENT_WRITE if self._client.unsent else 0
            if events:
                selector.register(self._client.socket, events)
        elif self._listener:
            selector.register(self._listener, selectors.EVENT_READ)

    def serve(self, ready: Sequence[object]) -> bytes:
        """Accept a client, or receive from it and send to it.

        Args:
            ready: The sockets that the selector found ready.

        Returns:
            The bytes that the client typed.
        """
        typed = b""
        if self._client and self._client.socket in ready:
            try:
                typed = self._client.receive()
                self._client.flush()
            except OSError:
                self._hang_up()
        elif self._listener and self._listener in ready:
            with contextlib.suppress(OSError):  # the client is gone already
                connection, _ = self._listener.accept()
                self._client = Rfc2217Client(connection, self._port) if self._port else Client(connection)
        return typed

    def send(self, data: bytes) -> None:
        """Send bytes to the client. Without a client they are lost, as at a port that is not open."""
        if self._client:
            self._client.send(data)
            try:
                self._client.flush()
            except OSError:
                self._hang_up()

    def _hang_up(self) -> None:
        if self._client:
            self._client.socket.close()
            self._client = None


def _listen(address: tuple[str, int]) -> socket.socket:
    """Listen on an address. Raises BenchError if the port is taken."""
    try:
        return socket.create_server(address)
    except OSError as error:
        raise BenchError(f"port {address[1]}: {error.strerror}; choose another, or 0 for a free one") from None
