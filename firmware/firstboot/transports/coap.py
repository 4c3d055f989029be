"""The provisioning exchange over CoAP: `POST coap://host/api/v1/provision` (RFC 7252; blocks: RFC 7959).

There is no DTLS: what is said here is said in clear.
"""

import os
import socket
import time

from firstboot import address, backoff
from firstboot.datagram import Datagrams
from firstboot.errors import NetworkError, ProtocolError, Timeout
from firstboot.settings import Settings

_CON, _NON, _ACK, _RST = 0, 1, 2, 3
_EMPTY = 0
_POST = 2
_URI_PATH, _CONTENT_FORMAT, _MAX_AGE, _BLOCK2, _BLOCK1 = 11, 12, 14, 23, 27
_KNOWN_CRITICAL = (_BLOCK2, _BLOCK1)
_JSON = 50
_PATH = ("api", "v1", "provision")
# RFC 7252, section 4.8: ACK_TIMEOUT in milliseconds, and MAX_RETRANSMIT. ACK_RANDOM_FACTOR is 1.5.
_ACK_TIMEOUT_MS = 2000
_MAX_RETRANSMIT = 4
_DATAGRAM = 1280
# A block of 1024 bytes as the option has it, and the most that all blocks of an answer may have.
_EXPONENT = 6
_LIMIT = 4096
# Max-Age when none is given (RFC 7252, section 5.10.5), and the longest that we let ourselves be told.
_MINUTE_S = 60
_HOUR_S = 3600


def exchange(settings: Settings, name: str, request: str) -> bytes:  # noqa: ARG001 - the name is in the request
    """Ask, and return the answer's payload: with 2.xx, and with 4.00 if there is one.

    Everything else is a NetworkError or a kind of it, with `retry_ms` if the server asks for patience.
    """
    port = settings.provision_port()
    found = address.look_up(settings.text("server.host"), port, socket.SOCK_DGRAM)
    if not settings.flag("server.allow_plaintext"):
        address.guard(found)
    asking = _Asking(Datagrams(found), settings.number("session.timeout_ms"))
    try:
        return asking.ask(request.encode())
    finally:
        asking.close()


class _Message:
    """What a datagram says. Raises ValueError or IndexError if that is nothing in CoAP (RFC 7252, section 3)."""

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
        self._take_apart(data, token_end)

    def _take_apart(self, data: bytes, at: int) -> None:
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


class _Asking:
    """Requests to one server, one after the other, with a deadline for all of them."""

    def __init__(self, datagrams: Datagrams, timeout_ms: int) -> None:
        self._datagrams = datagrams
        self._deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        # RFC 7252's five transmissions take 93 seconds. Ours have to fit into the timeout: when the first
        # wait is 10 to 15 % of it, three or four do. From 20 s on this is the RFC's own pace; with the
        # usual 10 s it begins as TCP does (RFC 6298), one message at a time.
        self._ack_timeout_ms = min(_ACK_TIMEOUT_MS, max(timeout_ms // 10, 1))
        self._mid = int.from_bytes(os.urandom(2), "big")
        self._confirmed = -1  # the last message id that we acknowledged

    def close(self) -> None:
        self._datagrams.close()

    def ask(self, body: bytes) -> bytes:
        return self._collect(self._put(body))

    def _put(self, body: bytes) -> _Message:
        """The answer to the whole body, sent in blocks if it does not fit into one (RFC 7959, section 2.5)."""
        exponent = _EXPONENT
        if len(body) <= _size(exponent):
            return self._judge(self._send([], body))
        start = 0
        while True:
            size = _size(exponent)
            end = start + size
            more = end < len(body)
            answer = self._judge(self._send([(_BLOCK1, start // size << 4 | more << 3 | exponent)], body[start:end]))
            if not more or answer.code != _code(2, 31):
                if answer.code == _code(2, 31):
                    raise ProtocolError("the server wants more than there is")
                return answer
            # a server may want smaller blocks from now on
            exponent = min(exponent, answer.options.get(_BLOCK1, exponent) & 7)
            start = end

    def _collect(self, answer: _Message) -> bytes:
        """The whole payload of an answer whose first block this is (RFC 7959, section 2.4)."""
        payload = answer.payload
        block = answer.options.get(_BLOCK2, 0)
        if block >> 4:
            raise ProtocolError("the server's answer begins in its middle")
        while block & 8:
            exponent = block & 7
            if exponent > _EXPONENT or not payload or len(payload) % _size(exponent):
                raise ProtocolError("the server sent a block of a length that it cannot have")
            if len(payload) > _LIMIT:
                raise ProtocolError("the server sent more than %d bytes" % _LIMIT)
            number = len(payload) // _size(exponent)
            following = self._judge(self._send([(_BLOCK2, number << 4 | exponent)], b""))
            block = following.options.get(_BLOCK2, 0)
            if following.code != answer.code or block >> 4 << (block & 7) != number << exponent:
                raise ProtocolError("the server sent another block than the one asked for")
            if block & 8 and not following.payload:
                raise ProtocolError("the server sent a block of a length that it cannot have")
            payload += following.payload
        return payload

    def _judge(self, answer: _Message) -> _Message:
        """The answer, if it is one to go by."""
        if not answer.understood:
            raise ProtocolError("the server's answer has an option that we do not know")
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
        """One request until its answer is there, which may be the acknowledgement or come after it."""
        self._mid = (self._mid + 1) & 0xFFFF
        token = os.urandom(8)
        request = _write(self._mid, token, blocks, payload)
        self._datagrams.send(request)
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
                    self._datagrams.send(request)
                    left -= 1
                    pause_ms *= 2
                    again = time.ticks_add(now, pause_ms)
                    continue
                wait_ms = min(wait_ms, due_ms)
            message = self._hear(wait_ms)
            if message is None or (message.kind in (_ACK, _RST) and message.mid != self._mid):
                continue  # nothing, or about something else
            if self._is_answer(message, token):
                return message
            if message.kind == _ACK and message.code == _EMPTY:
                left = 0  # the request has arrived, and the answer will come by itself

    def _is_answer(self, message: _Message, token: bytes) -> bool:
        if message.kind == _RST:
            raise NetworkError("the server rejected the message (CoAP RST)")
        if message.token == token and message.code >> 5 in (2, 4, 5):
            self._confirm(message)
            return True
        if message.kind == _CON and message.mid == self._confirmed:
            self._confirm(message)  # our acknowledgement of an earlier answer was lost
        return False

    def _hear(self, ms: int) -> _Message | None:
        """What comes within `ms`; None if it is nothing, or nothing in CoAP, which gets no reply."""
        data = self._datagrams.receive(_DATAGRAM, ms)
        if data is None:
            return None
        try:
            return _Message(data)
        except (ValueError, IndexError):
            return None

    def _confirm(self, message: _Message) -> None:
        if message.kind == _CON:
            self._confirmed = message.mid
            self._datagrams.send(bytes([0x40 | _ACK << 4, _EMPTY, message.mid >> 8, message.mid & 0xFF]))


def _code(family: int, detail: int) -> int:
    """`2, 5` is what the RFC writes as 2.05."""
    return family << 5 | detail


def _size(exponent: int) -> int:
    return 16 << exponent


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    """An option's delta or length, and where it goes on (RFC 7252, section 3.1)."""
    if nibble < 13:
        return nibble, at
    if nibble == 13:
        return data[at] + 13, at + 1
    if nibble == 14:
        return (data[at] << 8 | data[at + 1]) + 269, at + 2
    raise ValueError


def _write(mid: int, token: bytes, blocks: list[tuple[int, int]], payload: bytes) -> bytes:
    """A request to be confirmed. `blocks` are the block options, the only ones that change."""
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
    """A number as an option has it: without leading zeros."""
    data = value.to_bytes(3, "big")
    while data and not data[0]:
        data = data[1:]
    return data
