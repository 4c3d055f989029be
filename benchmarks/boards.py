"""Boards that provision over TCP, TLS or CoAP, with a socket for each exchange, one step after the other.

Written on `selectors`, because asyncio's connections cost several times as much: the client must not
limit the server. Imports nothing that takes long.
"""

import errno
import os
import selectors
import socket
import ssl
import time
from abc import ABC, abstractmethod
from typing import Protocol

from bench.mqtt.client_packets import DISCONNECT, connect
from benchmarks.messages import COAP_TOKEN_BYTES, Exchange, Exchanges

HOST = "127.0.0.1"
_READ_SIZE = 16384
_SUCCESS = b'"status":"SUCCESS"'

# CoAP (RFC 7252, 3): types and codes.
_CON, _ACK, _RST = 0, 2, 3
_EMPTY = 0


class Load(Protocol):
    """The measurement that a board is part of."""

    selector: selectors.BaseSelector
    exchanges: Exchanges
    port: int
    disconnects: bool
    """True if a DISCONNECT ends each exchange."""
    echo: bool
    """True if the answer must contain the requested token."""
    tls: ssl.SSLContext | None
    """The context of boards over TLS."""

    def succeeded(self, started: float, ended: float) -> None:
        """Count an answered exchange.

        Args:
            started: Its begin by `time.perf_counter`, in seconds.
            ended: Its end by the same clock.
        """

    def ended(self, board: "Board", failure: str) -> None:
        """Count an exchange that has ended.

        Args:
            board: The board, whose socket is closed.
            failure: The reason why it failed; "" if it did not.
        """


class Board(ABC):
    """A board that provisions again and again, one exchange after the other, each under a new name."""

    patience_s = 10.0
    """Seconds after which a missing answer is a failure."""
    _socket: socket.socket
    _exchange: Exchange

    def __init__(self, load: Load, number: int) -> None:
        """Make a board that is idle.

        Args:
            load: The measurement.
            number: Its number, for its client id.
        """
        self._load = load
        self._hello = connect(f"benchmark-{number}", "provision", keep_alive_s=60)
        self._received = b""
        self._started = 0.0

    def open(self) -> None:
        """Begin an exchange."""
        self._exchange = self._load.exchanges.next(self._hello)
        self._received = b""
        self._started = time.perf_counter()
        self._begin()

    def ready(self, events: int) -> None:
        """Take the next step: the socket is ready for these `events` of its selector."""
        try:
            self._continue(events)
        except OSError as error:
            self._end(f"{self._where()}: {type(error).__name__}")

    def check(self, now: float) -> None:
        """End the exchange as failed if it takes too long. `now`: by `time.perf_counter`, in seconds."""
        if now - self._started > self.patience_s:
            self._end(f"{self._where()}: no answer within {self.patience_s:.0f} s")

    @abstractmethod
    def _begin(self) -> None:
        """Make a socket, register it, send the first message."""

    @abstractmethod
    def _continue(self, events: int) -> None:
        """Take the next step. May raise OSError."""

    @abstractmethod
    def _where(self) -> str:
        """Return the step that the exchange has reached."""

    def _judge(self, answer: bytes) -> str:
        """Return the mistake in the answer; empty if it is right."""
        if _SUCCESS not in answer:
            return "not SUCCESS"
        if self._load.echo and self._exchange.token not in answer:
            return "the answer to another request"
        self._load.succeeded(self._started, time.perf_counter())
        return ""

    def _end(self, failure: str) -> None:
        self._load.selector.unregister(self._socket)
        self._socket.close()
        self._load.ended(self, failure)


class StreamBoard(Board):
    """MQTT or HTTP, over TCP."""

    def _begin(self) -> None:
        self._step = 0
        self._socket = socket.socket()
        self._socket.setblocking(False)
        code = self._socket.connect_ex((HOST, self._load.port))
        if code not in (0, errno.EINPROGRESS):
            self._load.selector.register(self._socket, selectors.EVENT_READ, self)
            self._end(f"connect: {os.strerror(code)}")
            return
        try:  # on loopback it is usually connected by now
            self._connected()
        except OSError:
            self._load.selector.register(self._socket, selectors.EVENT_WRITE, self)
        else:
            self._load.selector.register(self._socket, selectors.EVENT_READ, self)

    def _continue(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._connected()
            self._load.selector.modify(self._socket, selectors.EVENT_READ, self)
            return
        data = self._socket.recv(_READ_SIZE)
        if not data:
            self._end(f"{self._where()}: closed")
            return
        self._received += self._plain(data)
        wanted = self._exchange.steps[self._step][1]
        if not wanted:
            if self._received.endswith(b"}"):
                failure = self._judge(self._received)
                if self._load.disconnects:
                    self._send(DISCONNECT)
                self._end(failure)
        elif self._received == wanted:
            self._received = b""
            self._step += 1
            self._send(self._exchange.steps[self._step][0])
        elif not wanted.startswith(self._received):
            self._end(f"{self._where()}: wrong answer")

    def _where(self) -> str:
        return f"step {self._step}"

    def _connected(self) -> None:
        """Send the first message: TCP is connected. Raises OSError if it is not."""
        self._send(self._exchange.steps[0][0])

    def _send(self, data: bytes) -> None:
        self._socket.send(data)

    def _plain(self, data: bytes) -> bytes:
        return data


class SecureBoard(StreamBoard):
    """MQTT or HTTP over TLS: a full handshake each time, which checks the server's certificate."""

    _open = False

    def _connected(self) -> None:
        assert self._load.tls
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._load.tls.wrap_bio(self._incoming, self._outgoing, server_hostname=HOST)
        self._open = False
        self._shake_hands()

    def _send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def _plain(self, data: bytes) -> bytes:
        self._incoming.write(data)
        if not self._open:
            self._shake_hands()
            if not self._open:
                return b""
            self._send(self._exchange.steps[0][0])
        plain = b""
        try:
            while piece := self._tls.read(_READ_SIZE):
                plain += piece
        except ssl.SSLWantReadError:
            pass
        return plain

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
            self._open = True
        except ssl.SSLWantReadError:
            pass
        finally:
            self._flush()  # an alert as well

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._socket.send(data)

    def _where(self) -> str:
        return super()._where() if self._open else "TLS handshake"


class DatagramBoard(Board):
    """CoAP: a confirmable POST, answered in the acknowledgement or after it. Nothing is sent again."""

    patience_s = 2.0

    def _begin(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._load.selector.register(self._socket, selectors.EVENT_READ, self)
        self._request = self._exchange.steps[0][0]
        try:
            self._socket.connect((HOST, self._load.port))
            self._socket.send(self._request)
        except OSError as error:
            self._end(f"{self._where()}: {type(error).__name__}")

    def _continue(self, events: int) -> None:
        del events
        data = self._socket.recv(_READ_SIZE)
        kind, code, message_id = data[0] >> 4 & 0x03, data[1], data[2:4]
        if message_id == self._request[2:4] and kind == _RST:
            self._end("reset")
        elif message_id == self._request[2:4] and kind == _ACK and code == _EMPTY:
            pass  # the answer comes later
        elif data[4 : 4 + COAP_TOKEN_BYTES] != self._request[4 : 4 + COAP_TOKEN_BYTES]:
            self._end("the answer to another request")
        else:
            if kind == _CON:
                self._socket.send(bytes((0x60, _EMPTY)) + message_id)
            self._end(self._judge(data) if code >> 5 == 2 else f"code {code >> 5}.{code & 0x1F:02}")

    def _where(self) -> str:
        return "CoAP"
