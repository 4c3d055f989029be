"""CoAP messages byte by byte, from RFC 7252 and not from the server, and a socket that sends exactly these."""

import itertools
import random
import socket
from dataclasses import dataclass, field
from typing import Any, Self

CON, NON, ACK, RST = range(4)

GET, POST, PUT, DELETE = 1, 2, 3, 4
FETCH, PATCH, IPATCH = 5, 6, 7
EMPTY = 0


def code(dotted: float) -> int:
    """Return a code, e.g. `2.05`, as it is on the wire."""
    return int(dotted) * 32 + round(dotted % 1 * 100)


IF_MATCH, URI_HOST, ETAG, IF_NONE_MATCH, OBSERVE, URI_PORT = 1, 3, 4, 5, 6, 7
URI_PATH, CONTENT_FORMAT, MAX_AGE, URI_QUERY, ACCEPT = 11, 12, 14, 15, 17
BLOCK2, BLOCK1, PROXY_URI, PROXY_SCHEME, SIZE1, NO_RESPONSE = 23, 27, 35, 39, 60, 258

Options = list[tuple[int, bytes]]


def number(value: int) -> bytes:
    """Encode a number for an option: without leading zeros."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def block(num: int, more: bool, exponent: int) -> bytes:
    return number(num << 4 | more << 3 | exponent)


def head(kind: int, code_: int, mid: int, token: bytes = b"", *, version: int = 1, length: int | None = None) -> bytes:
    first = version << 6 | kind << 4 | (len(token) if length is None else length)
    return bytes([first, code_]) + mid.to_bytes(2, "big") + token


def _extended(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes([value - 13])
    return 14, (value - 269).to_bytes(2, "big")


def option_bytes(options: Options) -> bytes:
    data, last = b"", 0
    for num, value in sorted(options, key=lambda option: option[0]):
        delta, delta_more = _extended(num - last)
        length, length_more = _extended(len(value))
        data += bytes([delta << 4 | length]) + delta_more + length_more + value
        last = num
    return data


def path_options(path: str) -> Options:
    path, _, query = path.partition("?")
    found = [(URI_PATH, part.encode()) for part in path.split("/")] if path else []
    return found + [(URI_QUERY, part.encode()) for part in query.split("&") if query]


def message(
    kind: int,
    code_: int,
    mid: int,
    token: bytes = b"",
    options: Options | None = None,
    payload: bytes = b"",
) -> bytes:
    return head(kind, code_, mid, token) + option_bytes(options or []) + (b"\xff" + payload if payload else b"")


@dataclass(frozen=True)
class Received:
    """A message from the server."""

    kind: int
    code: int
    mid: int
    token: bytes
    options: dict[int, list[bytes]] = field(default_factory=dict)
    payload: bytes = b""

    def one(self, option: int) -> bytes | None:
        values = self.options.get(option, [None])
        assert len(values) == 1
        return values[0]

    def value(self, option: int) -> int | None:
        found = self.one(option)
        return None if found is None else int.from_bytes(found, "big")


def read(data: bytes) -> Received:
    """Decode a message strictly: a server must not send anything invalid."""
    assert data[0] >> 6 == 1
    length, at = data[0] & 15, 4
    token, at = data[at : at + length], at + length
    assert len(token) == length
    options: dict[int, list[bytes]] = {}
    last = 0
    while at < len(data) and data[at] != 0xFF:
        nibbles = data[at] >> 4, data[at] & 15
        at += 1
        values = []
        for nibble in nibbles:
            assert nibble != 15
            size = {13: 1, 14: 2}.get(nibble, 0)
            more = int.from_bytes(data[at : at + size], "big")
            values.append({13: 13, 14: 269}.get(nibble, nibble) + more)
            at += size
        last += values[0]
        assert at + values[1] <= len(data)
        options.setdefault(last, []).append(data[at : at + values[1]])
        at += values[1]
    payload = data[at + 1 :]
    assert at == len(data) or payload
    return Received(data[0] >> 4 & 3, data[1], int.from_bytes(data[2:4], "big"), token, options, payload)


class RawPeer:
    """A UDP socket, with its own message ids and tokens."""

    def __init__(self, port: int, timeout_s: float = 20.0, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(timeout_s)
        self.socket.connect((host, port))
        # anywhere: a socket that has the port of an earlier one would get that one's answer again (RFC 7252, 4.5)
        self._mids = itertools.count(random.randrange(1, 1 << 15))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    def receive_bytes(self) -> bytes:
        return self.socket.recv(65536)

    def receive(self) -> Received:
        return read(self.receive_bytes())

    def expect_silence(self, seconds: float = 0.2) -> None:
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            received = self.socket.recv(65536)
        except TimeoutError:
            received = b""
        self.socket.settimeout(before)
        assert received == b""

    def request(
        self, code_: int, path: str, payload: bytes = b"", *, kind: int = CON, options: Any = (), **more: Any
    ) -> Received:
        """Send a request and return its response: piggybacked, or separate, which is acknowledged."""
        mid = next(self._mids)
        token = more.get("token", b"t%d" % mid)
        self.send(message(kind, code_, mid, token, path_options(path) + list(options), payload))
        answer = self.receive()
        if kind == CON and answer == Received(ACK, EMPTY, mid, b""):
            answer = self.receive()
            assert answer.kind == CON
        if kind == answer.kind == CON:
            self.send(message(ACK, EMPTY, answer.mid))
        else:
            assert (answer.kind, answer.mid) == (ACK, mid) if kind == CON else answer.kind == NON
        assert answer.token == token
        return answer
