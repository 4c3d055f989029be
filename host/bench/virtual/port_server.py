"""Clients of a serial port that is served over TCP: with RFC 2217, which pyserial speaks, or with bytes alone."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Protocol

from serial import PARITY_NONE, STOPBITS_ONE
from serial.rfc2217 import IAC, IAC_DOUBLED, M_NORMAL, PortManager

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
