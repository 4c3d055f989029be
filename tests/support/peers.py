"""The other end of a device's connection, with the behaviour that a test gives it."""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from tests.support import certificates

Behaviour = Callable[[socket.socket], None]
PATIENCE_S = 20


def receive(connection: socket.socket, size: int) -> bytes:
    """Return exactly `size` bytes, or fewer if the device closes before."""
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            break
        data += chunk
    return data


def until_closed(connection: socket.socket) -> bytes:
    """Return everything that comes until the device closes."""
    data = b""
    try:
        while chunk := connection.recv(4096):
            data += chunk
    except ConnectionResetError:  # closed with something unread: also a close
        pass
    return data


class Peers:
    """Listeners that hand their connections to functions, one after the other."""

    def __init__(self) -> None:
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    def __call__(self, *behaviours: Behaviour) -> int:
        """Serve a connection by each of these, in this order; return the port."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(PATIENCE_S)
        self._listeners.append(listener)

        def run() -> None:
            try:
                for behave in behaviours:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(PATIENCE_S)
                        behave(connection)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self._failures.append(error)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        return listener.getsockname()[1]

    def close(self) -> None:
        for thread in self._threads:
            thread.join()
        for listener in self._listeners:
            listener.close()
        assert not self._failures


class Secured:
    """The server's side of a TLS connection; every byte for the device passes through `transmit`."""

    def __init__(
        self, connection: socket.socket, context: ssl.SSLContext, transmit: Callable[[bytes], None] | None = None
    ) -> None:
        self._connection = connection
        self._transmit = transmit or connection.sendall
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    def shake_hands(self) -> None:
        """Complete the handshake. Raises ConnectionError if the device closes before, ssl.SSLError if it refuses."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._more()
            else:
                self._flush()
                return

    def receive(self, size: int) -> bytes:
        """Return exactly `size` bytes from the device."""
        data = b""
        while len(data) < size:
            try:
                data += self._tls.read(size - len(data))
            except ssl.SSLWantReadError:
                self._more()
        return data

    def record(self, data: bytes) -> bytes:
        """Return `data` as a TLS record, to be sent piece by piece."""
        self._tls.write(data)
        return self._out.read()

    def send(self, data: bytes) -> None:
        """Send `data` as one record."""
        self._transmit(self.record(data))

    def _flush(self) -> None:
        if data := self._out.read():
            self._transmit(data)

    def _more(self) -> None:
        chunk = self._connection.recv(4096)
        if not chunk:
            raise ConnectionError("the device closed")
        self._in.write(chunk)


def server_context(folder: Path, *chain: certificates.Made, client_ca: certificates.Made | None = None):
    """Return the context of a server with this chain; with `client_ca` it requires a certificate signed by that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.write(folder, "peer", *chain))
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.der)
    return context


def receive_request(connection) -> bytes:
    """Return one whole HTTP request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(4096)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += connection.recv(4096)
    return head + b"\r\n\r\n" + body


def answering(answer, *, hold=False):
    """Return a behaviour that answers one HTTP request; `hold` leaves the connection open."""

    def behave(connection):
        receive_request(connection)
        try:
            connection.sendall(answer)
        except OSError:  # the device has closed
            return
        if hold:
            until_closed(connection)

    return behave
