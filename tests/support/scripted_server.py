"""A server whose test handles each connection of a board step by step; on a loopback port, without a thread."""

import json
import socket
import ssl
import struct
from contextlib import suppress
from typing import Any, Self

from bench.mqtt.codec import remaining_length
from tests.support.mqtt_packets import connack, puback, publish, suback

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 0x10, 0x30, 0x80, 0xC0, 0xE0
_PATIENCE_S = 30


class Gone(Exception):
    """The board closed the connection."""


class Connection:
    """One connection of a board. With `tls` the handshake is part of the first packet."""

    def __init__(self, raw: socket.socket, tls: ssl.SSLContext | None) -> None:
        raw.settimeout(_PATIENCE_S)
        self._raw = raw
        self._tls = tls
        self._socket: socket.socket | None = None if tls else raw

    def packet(self) -> tuple[int, bytes]:
        """Return the next packet's type and body. Raises Gone."""
        try:
            if self._socket is None:
                assert self._tls
                self._raw = self._socket = self._tls.wrap_socket(self._raw, server_side=True)
            header = self._read(2)
            while (found := remaining_length.decode(header)) is None:
                header += self._read(1)
            return header[0] & 0xF0, self._read(found[0])
        except OSError as error:
            raise Gone from error

    def send(self, data: bytes) -> None:
        """Send bytes to the board. Raises Gone."""
        assert self._socket
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def close(self, *, reset: bool = False) -> None:
        """End the connection, with a FIN or an RST."""
        if reset:
            with suppress(OSError):  # after a failed handshake the connection has ended already
                self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._raw.close()

    def wait_until_gone(self) -> None:
        """Send nothing until the board gives up."""
        with suppress(OSError):
            while self._raw.recv(4096):
                pass

    def _read(self, size: int) -> bytes:
        assert self._socket
        data = b""
        while len(data) < size:
            chunk = self._socket.recv(size - len(data))
            if not chunk:
                raise Gone
            data += chunk
        return data


class ScriptedServer:
    """A listener on a free port; `accept` returns the board's connections one by one. A context manager."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_PATIENCE_S)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and end a wait for a connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def accept(self) -> Connection:
        """Wait for the next connection, and return it."""
        return Connection(self._listener.accept()[0], self._tls)


def login(body: bytes) -> str:
    """Return the user name, an access token, of a CONNECT that has a client id and a user name."""
    client_id = 12 + int.from_bytes(body[10:12], "big")
    return body[client_id + 2 : client_id + 2 + int.from_bytes(body[client_id : client_id + 2], "big")].decode()


def published(body: bytes) -> tuple[str, Any, bytes]:
    """Return topic, payload read as JSON, and the PUBACK, of a PUBLISH with QoS 1."""
    end = 2 + int.from_bytes(body[:2], "big")
    return body[2:end].decode(), json.loads(body[end + 2 :]), puback(int.from_bytes(body[end : end + 2], "big"))


def usual_answer(kind: int, body: bytes) -> bytes:
    """Return the immediate answer of a server that accepts everything; empty if there is none."""
    if kind == CONNECT:
        return connack(0)
    if kind == PUBLISH:
        return published(body)[2]
    if kind == SUBSCRIBE:
        return suback(int.from_bytes(body[:2], "big"), 0)
    if kind == PINGREQ:
        return b"\xd0\x00"
    return b""


def message(topic: str, value: Any) -> bytes:
    """Return a PUBLISH from the server, with the value as JSON."""
    return publish(topic, json.dumps(value).encode())
