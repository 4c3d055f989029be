"""The provisioning exchange over CoAP: `POST coap://host/api/v1/provision` (RFC 7252; blocks: RFC 7959).

There is no DTLS: everything is sent in clear.
"""

import os
import socket
import time

from micropython import const

from firstboot import address, backoff
from firstboot.datagram import UdpSocket
from firstboot.errors import NetworkError, ProtocolError, Timeout
from firstboot.settings import Settings

_CON = const(0)
_NON = const(1)
_ACK = const(2)
_RST = const(3)
_EMPTY = const(0)
_POST = const(2)
_URI_PATH = const(11)
_CONTENT_FORMAT = const(12)
_MAX_AGE = const(14)
_BLOCK2 = const(23)
_BLOCK1 = const(27)
_KNOWN_CRITICAL = (_BLOCK2, _BLOCK1)
_JSON = const(50)
_PATH = ("api", "v1", "provision")
# RFC 7252, section 4.8: ACK_TIMEOUT in milliseconds, and MAX_RETRANSMIT. ACK_RANDOM_FACTOR is 1.5.
_ACK_TIMEOUT_MS = const(2000)
_MAX_RETRANSMIT = const(4)
_DATAGRAM = const(1280)
# A block of 1024 bytes as the option encodes it, and the most that all blocks of an answer may have.
_EXPONENT = const(6)
_LIMIT = const(4096)
# Max-Age when none is given (RFC 7252, section 5.10.5), and the longest accepted.
_MINUTE_S = const(60)
_HOUR_S = const(3600)


def exchange(settings: Settings, name: str, request: str) -> bytes:  # noqa: ARG001 - the name is in the request
    """Send the request, and return the answer's payload: with 2.xx, and with 4.00 if there is one.

    Raises:
        NetworkError: any other answer, with `retry_ms` if the server asked to wait; ProtocolError, Timeout.
        PlaintextRefused: the address is public, and `server.allow_plaintext` is not set.
    """
    port = settings.provision_port()
    found = address.look_up(settings.text("server.host"), port, socket.SOCK_DGRAM)
    if not settings.flag("server.allow_plaintext"):
        address.guard(found)
    asking = _Exchange(UdpSocket(found), settings.number("session.timeout_ms"))
    try:
        return asking.request(request.encode())
    finally:
        asking.close()


class _Message:
    """A parsed datagram. Raises ValueError or IndexError if it is not a CoAP message (RFC 7252, section 3)."""

    def __init__(self, data: bytes) -> None:
        token_end = 4 + (data[0] & 15)
        if data[0] >> 6 != 1 or not 4 <= token_end <= 12 or len(data) < token_end:
            raise ValueError
        self.kind = data[0] >> 4 & 3
        self.code = data[1]
        self.mid = data[2] << 8 | data[3]
        self.token = data[4:token_end]
        self.options: dict[int, int] = {}
        self.payload = b""
        self.understood = True
        self._parse(data, token_end)

    def _parse(self, data: bytes, at: int) -> None:
        number = 0
        while at < len(data):
            first = data[at]
            at += 1
            if first == 0xFF:
                if at == len(data):
                    raise ValueError
                self.payload = data[at:]
                return
            delta, at = _extended(data, at, first >> 4)
            length, at = _extended(data, at, first & 15)
            if at + length > len(data):
                raise ValueError
            number += delta
            if number in (_MAX_AGE, _BLOCK2, _BLOCK1) and length <= 4:
                self.options[number] = int.from_bytes(data[at : at + length], "big")
            elif number & 1:  # critical (section 5.4.1)
                self.understood = False
            at += length


class _Exchange:
    """Requests to one server, one after the other, with a deadline for all of them."""

    def __init__(self, udp: UdpSocket, timeout_ms: int) -> None:
        self._udp = udp
        self._deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        # RFC 7252's five transmissions take 93 seconds. Ours have to fit into the timeout: when the first
        # wait is 10 to 15 % of it, three or four do. From 20 s on this is the RFC's own pace; with the
        # usual 10 s it begins as TCP does (RFC 6298), one message at a time.
        self._ack_timeout_ms = min(_ACK_TIMEOUT_MS, max(timeout_ms // 10, 1))
        self._mid = int.from_bytes(os.urandom(2), "big")
        self._acked = -1  # the last message id that we acknowledged

    def close(self) -> None:
        self._udp.close()

    def request(self, body: bytes) -> bytes:
        return self._whole(self._post(body))

    def _post(self, body: bytes) -> _Message:
        """Return the answer to the whole body, sent in blocks if it does not fit into one (RFC 7959, section 2.5)."""
        exponent = _EXPONENT
        if len(body) <= _size(exponent):
            return self._checked(self._send([], body))
        start = 0
        while True:
            size = _size(exponent)
            end = start + size
            more = end < len(body)
            answer = self._checked(self._send([(_BLOCK1, start // size << 4 | more << 3 | exponent)], body[start:end]))
            if not more or answer.code != _code(2, 31):
                if answer.code == _code(2, 31):
                    raise ProtocolError("the server asks for more than there is")
                return answer
            # a server may want smaller blocks from now on
            exponent = min(exponent, answer.options.get(_BLOCK1, exponent) & 7)
            start = end

    def _whole(self, answer: _Message) -> bytes:
        """Return the whole payload of an answer, from its first block on (RFC 7959, section 2.4)."""
        payload = answer.payload
        block = answer.options.get(_BLOCK2, 0)
        if block >> 4:
            raise ProtocolError("the server's answer begins in its middle")
        while block & 8:
            exponent = block & 7
            if exponent > _EXPONENT or not payload or len(payload) % _size(exponent):
                raise ProtocolError("the server sent a block of invalid length")
            if len(payload) > _LIMIT:
                raise ProtocolError("the server sent more than %d bytes" % _LIMIT)
            number = len(payload) // _size(exponent)
            following = self._checked(self._send([(_BLOCK2, number << 4 | exponent)], b""))
            block = following.options.get(_BLOCK2, 0)
            if following.code != answer.code or block >> 4 << (block & 7) != number << exponent:
                raise ProtocolError("the server sent another block than the one asked for")
            if block & 8 and not following.payload:
                raise ProtocolError("the server sent a block of invalid length")
            payload += following.payload
        return payload

    def _checked(self, answer: _Message) -> _Message:
        """Return the answer; raise NetworkError unless it is usable."""
        if not answer.understood:
            raise ProtocolError("the server's answer has an unknown critical option")
        code = answer.code
        if code >> 5 == 2 or (code == _code(4, 0) and answer.payload):
            return answer
        if code == _code(4, 0):
            raise ProtocolError("the server does not understand the request (CoAP 4.00)")
        error = NetworkError("the server answered with CoAP %d.%02d" % (code >> 5, code & 31))
        if code in (_code(5, 3), _code(4, 29)):
            error.retry_ms = min(answer.options.get(_MAX_AGE, _MINUTE_S), _HOUR_S) * 1000
        raise error

    def _send(self, blocks: list[tuple[int, int]], payload: bytes) -> _Message:
        """Send one request until its answer arrives, with the acknowledgement or after it."""
        self._mid = (self._mid + 1) & 0xFFFF
        token = os.urandom(8)
        request = _encode(self._mid, token, blocks, payload)
        self._udp.send(request)
        left = _MAX_RETRANSMIT
        pause_ms = self._ack_timeout_ms + backoff.below(self._ack_timeout_ms // 2 + 1)
        again = time.ticks_add(time.ticks_ms(), pause_ms)
        while True:
            now = time.ticks_ms()
            wait_ms = time.ticks_diff(self._deadline, now)
            if wait_ms <= 0:
                raise Timeout("no answer from the server in time")
            if left:
                due_ms = time.ticks_diff(again, now)
                if due_ms <= 0:
                    self._udp.send(request)
                    left -= 1
                    pause_ms *= 2
                    again = time.ticks_add(now, pause_ms)
                    continue
                wait_ms = min(wait_ms, due_ms)
            message = self._receive(wait_ms)
            if message is None or (message.kind in (_ACK, _RST) and message.mid != self._mid):
                continue  # nothing, or for another message
            if self._is_answer(message, token):
                return message
            if message.kind == _ACK and message.code == _EMPTY:
                left = 0  # the request has arrived: the answer comes separately

    def _is_answer(self, message: _Message, token: bytes) -> bool:
        if message.kind == _RST:
            raise NetworkError("the server rejected the message (CoAP RST)")
        if message.token == token and message.code >> 5 in (2, 4, 5):
            self._ack(message)
            return True
        if message.kind == _CON and message.mid == self._acked:
            self._ack(message)  # our acknowledgement of an earlier answer was lost
        return False

    def _receive(self, ms: int) -> _Message | None:
        """Return the message that comes within `ms`, or None; what is not CoAP gets no reply."""
        data = self._udp.receive(_DATAGRAM, ms)
        if data is None:
            return None
        try:
            return _Message(data)
        except (ValueError, IndexError):
            return None

    def _ack(self, message: _Message) -> None:
        if message.kind == _CON:
            self._acked = message.mid
            self._udp.send(bytes([0x40 | _ACK << 4, _EMPTY, message.mid >> 8, message.mid & 0xFF]))


def _code(family: int, detail: int) -> int:
    """Return the byte of a code: `2, 5` is what the RFC writes as 2.05."""
    return family << 5 | detail


def _size(exponent: int) -> int:
    return 16 << exponent


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    """Return an option's delta or length, and the position after it (RFC 7252, section 3.1)."""
    if nibble < 13:
        return nibble, at
    if nibble == 13:
        return data[at] + 13, at + 1
    if nibble == 14:
        return (data[at] << 8 | data[at + 1]) + 269, at + 2
    raise ValueError


def _encode(mid: int, token: bytes, blocks: list[tuple[int, int]], payload: bytes) -> bytes:
    """Return a confirmable request. `blocks` are the block options, the only ones that change."""
    data = bytearray([0x40 | _CON << 4 | len(token), _POST, mid >> 8, mid & 0xFF]) + token
    options = [(_URI_PATH, part.encode()) for part in _PATH]
    if payload:
        options.append((_CONTENT_FORMAT, bytes([_JSON])))
    options += [(number, _shortest(value)) for number, value in blocks]
    last = 0
    for number, value in options:  # in ascending order, none longer than 12 bytes (RFC 7252, section 3.1)
        delta = number - last
        data.append(min(delta, 13) << 4 | len(value))
        if delta >= 13:
            data.append(delta - 13)
        data += value
        last = number
    if payload:
        data += b"\xff" + payload
    return bytes(data)


def _shortest(value: int) -> bytes:
    """Return a number as an option encodes it: without leading zeros."""
    data = value.to_bytes(3, "big")
    while data and not data[0]:
        data = data[1:]
    return data
