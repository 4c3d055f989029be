"""CoAP as a device speaks it (RFC 7252): aiocoap writes and reads the messages, the exchange is by hand."""

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiocoap import ACK, CON, EMPTY, NON, RST, Message
from aiocoap.error import Error
from aiocoap.message import Direction
from aiocoap.numbers.codes import SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS, Code

from bench.conformance.check import Broken
from bench.conformance.server.reach import Address, Reach
from bench.errors import BenchError

# RFC 7252 section 4.8: seconds until a request is sent again, doubled every time.
_ACK_TIMEOUT_S = 2.0
_LONGEST = 65536


class Peer:
    """A socket that the server answers to. What it does not say in time, or says wrong, is raised as Broken."""

    def __init__(self, reach: Reach, where: Address) -> None:
        reach.expect_there(where)
        self._reach = reach
        self._where = where
        self._mid = secrets.randbelow(0x10000)
        try:
            family, _, _, _, there = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.connect(there)
        except OSError as error:
            raise reach.lost(where, error) from error

    def close(self) -> None:
        """No more of it."""
        self._socket.close()

    def request(self, code: Code, path: str, payload: bytes = b"", **options: object) -> Message:
        """A request that is to be confirmed, with an id and a token of its own."""
        self._mid = (self._mid + 1) % 0x10000
        uri_path = tuple(path.split("/"))
        message = Message(code=code, _mtype=CON, _mid=self._mid, _token=secrets.token_bytes(4), payload=payload)
        message.opt.uri_path = uri_path
        for name, value in options.items():
            setattr(message.opt, name, value)
        return message

    def ask(self, message: Message) -> Message:
        """Send a request, as often as it takes, and hear its answer: piggybacked or by itself."""
        answer = self._exchange(message)
        if answer.code in (TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE):
            raise BenchError(f"{answer.code.dotted}: the server wants no more for now (Max-Age {answer.opt.max_age} s)")
        return answer

    def ping(self) -> Message:
        """What comes back for an empty message that is to be confirmed."""
        self._mid = (self._mid + 1) % 0x10000
        return self._exchange(Message(code=EMPTY, _mtype=CON, _mid=self._mid))

    def _exchange(self, message: Message) -> Message:
        deadline, wait_s = time.monotonic() + self._reach.patience_s, _ACK_TIMEOUT_S
        confirmed = False
        while time.monotonic() < deadline:
            if not confirmed:
                self._send(message)
            again = min(deadline, time.monotonic() + wait_s)
            while (heard := self._receive(again)) is not None:
                if heard.mtype is RST and heard.mid == message.mid:
                    if message.code is EMPTY:
                        return heard
                    raise Broken("the request was answered with a reset")
                if heard.mtype is ACK and heard.mid == message.mid:
                    if heard.code is not EMPTY:
                        return _own(heard, message)
                    confirmed = True
                elif heard.mtype in (CON, NON) and heard.token == message.token:
                    self._acknowledge(heard)
                    return heard
            wait_s *= 2
        if self._where.scheme not in self._reach.answered:
            raise self._reach.lost(self._where, TimeoutError())
        raise Broken(f"no answer came within {self._reach.patience_s:g} s")

    def _acknowledge(self, heard: Message) -> None:
        if heard.mtype is CON:
            self._send(Message(code=EMPTY, _mtype=ACK, _mid=heard.mid))

    def _send(self, message: Message) -> None:
        message.direction = Direction.OUTGOING
        try:
            self._socket.send(message.encode())
        except OSError as error:  # what an earlier message met
            raise self._reach.lost(self._where, error) from error

    def _receive(self, until: float) -> Message | None:
        """The next message; None if none comes until then (of the monotonic time)."""
        if (left := until - time.monotonic()) <= 0:  # however much comes
            return None
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(_LONGEST)
        except TimeoutError:
            return None
        except OSError as error:
            raise self._reach.lost(self._where, error) from error
        self._reach.answered.add(self._where.scheme)
        try:
            return Message.decode(data)
        except (Error, ValueError) as error:
            raise Broken("what came is no CoAP message") from error


def _own(answer: Message, request: Message) -> Message:
    if answer.token != request.token:
        said = answer.token.hex() or "none"
        raise Broken(f"the answer's token is {said}, the request's {request.token.hex()}")
    return answer


@contextmanager
def peer(reach: Reach) -> Iterator[Peer]:
    """A socket of its own."""
    made = Peer(reach, reach.at("coap"))
    try:
        yield made
    finally:
        made.close()
