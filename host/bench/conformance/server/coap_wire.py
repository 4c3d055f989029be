"""CoAP as devices use it (RFC 7252): aiocoap encodes and decodes the messages, the exchange is written here."""

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
from bench.conformance.server.addresses import Address, CheckedAddresses
from bench.errors import BenchError

# RFC 7252 section 4.8: seconds until a request is sent again, doubled every time.
_ACK_TIMEOUT_S = 2.0
_LONGEST = 65536


class CoapClient:
    """A client of CoAP. Broken is raised for answers that do not come, or are wrong."""

    def __init__(self, addresses: CheckedAddresses, where: Address) -> None:
        """Open a socket.

        Args:
            addresses: The server, for its time to answer, and to remember that it is not reached.
            where: Its address for CoAP.

        Raises:
            BenchError: The server is not reached, or was not before.
        """
        addresses.expect_reachable(where)
        self._addresses = addresses
        self._where = where
        self._mid = secrets.randbelow(0x10000)
        try:
            family, _, _, _, there = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.connect(there)
        except OSError as error:
            raise addresses.unreachable(where, error) from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, code: Code, path: str, payload: bytes = b"", **options: object) -> Message:
        """Return a confirmable request with a message id and a token of its own.

        Args:
            code: The method.
            path: The path, without a leading slash.
            payload: The payload.
            **options: Options, by aiocoap's names.
        """
        self._mid = (self._mid + 1) % 0x10000
        uri_path = tuple(path.split("/"))
        message = Message(code=code, _mtype=CON, _mid=self._mid, _token=secrets.token_bytes(4), payload=payload)
        message.opt.uri_path = uri_path
        for name, value in options.items():
            setattr(message.opt, name, value)
        return message

    def exchange(self, message: Message) -> Message:
        """Send a request, again after each timeout (RFC 7252, section 4.2), and return its response.

        Args:
            message: The request.

        Returns:
            The response, piggybacked or separate (RFC 7252, section 5.2).

        Raises:
            Broken: A reset, a message that is not CoAP or a wrong token comes, or nothing in time.
            BenchError: The server is not reached, or not available now (4.29, 5.03).
        """
        answer = self._exchange(message)
        if answer.code in (TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE):
            raise BenchError(f"{answer.code.dotted}: the server wants no more for now (Max-Age {answer.opt.max_age} s)")
        return answer

    def ping(self) -> Message:
        """Send an empty confirmable message (RFC 7252, section 4.3), and return the answer: a reset, if it is right.

        Raises:
            Broken: A message that is not CoAP comes, or no answer in time.
            BenchError: The server is not reached.
        """
        self._mid = (self._mid + 1) % 0x10000
        return self._exchange(Message(code=EMPTY, _mtype=CON, _mid=self._mid))

    def _exchange(self, message: Message) -> Message:
        deadline, wait_s = time.monotonic() + self._addresses.patience_s, _ACK_TIMEOUT_S
        confirmed = False
        while time.monotonic() < deadline:
            if not confirmed:
                self._send(message)
            again = min(deadline, time.monotonic() + wait_s)
            while (received := self._receive(again)) is not None:
                if received.mtype is RST and received.mid == message.mid:
                    if message.code is EMPTY:
                        return received
                    raise Broken("the request was answered with a reset")
                if received.mtype is ACK and received.mid == message.mid:
                    if received.code is not EMPTY:
                        return _own(received, message)
                    confirmed = True
                elif received.mtype in (CON, NON) and received.token == message.token:
                    self._acknowledge(received)
                    return received
            wait_s *= 2
        if self._where.scheme not in self._addresses.answered:
            raise self._addresses.unreachable(self._where, TimeoutError())
        raise Broken(f"no answer came within {self._addresses.patience_s:g} s")

    def _acknowledge(self, received: Message) -> None:
        if received.mtype is CON:
            self._send(Message(code=EMPTY, _mtype=ACK, _mid=received.mid))

    def _send(self, message: Message) -> None:
        message.direction = Direction.OUTGOING
        try:
            self._socket.send(message.encode())
        except OSError as error:  # of an earlier message, e.g. an ICMP error
            raise self._addresses.unreachable(self._where, error) from error

    def _receive(self, until: float) -> Message | None:
        """Return the next message; None if no message comes until then (by the monotonic clock)."""
        if (left := until - time.monotonic()) <= 0:  # even if messages never cease to come
            return None
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(_LONGEST)
        except TimeoutError:
            return None
        except OSError as error:
            raise self._addresses.unreachable(self._where, error) from error
        self._addresses.answered.add(self._where.scheme)
        try:
            return Message.decode(data)
        except (Error, ValueError) as error:
            raise Broken("what came is not a CoAP message") from error


def _own(answer: Message, request: Message) -> Message:
    if answer.token != request.token:
        token = answer.token.hex() or "missing"
        raise Broken(f"the answer's token is {token}, the request's {request.token.hex()}")
    return answer


@contextmanager
def peer(addresses: CheckedAddresses) -> Iterator[CoapClient]:
    """Open a client with a socket of its own.

    Args:
        addresses: The server.

    Raises:
        BenchError: The server is not reached, or was not before.
        NotHere: There is no address for CoAP.
    """
    made = CoapClient(addresses, addresses.at("coap"))
    try:
        yield made
    finally:
        made.close()
