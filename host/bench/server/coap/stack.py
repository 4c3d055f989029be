"""aiocoap's layers from the socket up to requests, hardened for a server on an open network.

What is not CoAP is dropped before aiocoap sees it, what was answered is remembered in little memory, and nothing is
logged that came over the wire.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiocoap import CON, RST, Context, Message
from aiocoap.error import UnparsableMessage
from aiocoap.message import Direction
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.codes import EMPTY
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import ACK
from aiocoap.pipe import Pipe
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.udp6 import MessageInterfaceUDP6, UDP6EndpointAddress
from aiocoap.util import socknumbers

from bench.errors import BenchError

# How many requests and their answers are remembered. At 1400 requests a second it is all of those whose
# retransmissions can still come (MAX_TRANSMIT_SPAN, 45 s); what a slower flood leaves room for stays longer.
_REMEMBERED = 65536
# A datagram is never longer.
_LONGEST = 65536
# Bytes of datagrams that wait while the server is busy; more are lost, and sent again.
_WAITING = 1 << 22
_TOKEN_LIMIT = 8
_RESERVED_CLASSES = {1, 6, 7}


class Site(Protocol):
    """Answers requests."""

    def accepts(self) -> bool:
        """Return whether there is room for another request. One that finds none is lost: its client sends it again."""

    async def render_to_pipe(self, pipe: Pipe) -> None:
        """Answer the request of a pipe, once or, if it is observed, often."""


class _Tuning(TransportTuning):  # type: ignore[misc]
    # As upstream: an answer that takes longer comes by itself, after an empty acknowledgement
    EMPTY_ACK_DELAY = 0.5


_TUNING = _Tuning()


class CoapPeer(UDP6EndpointAddress):  # type: ignore[misc]
    """The sender of a datagram; never a group."""

    is_multicast = False
    is_multicast_locally = False

    @property
    def address(self) -> str:
        """The IP address; IPv4 not mapped."""
        return str(self.sockaddr[0]).removeprefix("::ffff:")

    def __repr__(self) -> str:
        # aiocoap names a task for each request, and its own of this takes longer than to read the request
        return f"<Peer {self.sockaddr[:2]}>"

    def as_response_address(self) -> "CoapPeer":
        """Return where answers go: back as the datagram came."""
        return self


@dataclass(slots=True)
class _Remembered:
    """A request: until when it is remembered (of the loop's time), a hash of all of it, and the answer."""

    until: float
    content: int
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class _Monitor:
    """A listener for the end of a message, also a good one: aiocoap only tells of failures."""

    on_failure: Callable[[], None]
    on_acknowledged: Callable[[], None]

    def __call__(self) -> None:
        self.on_failure()


class _Messages(MessageManager):  # type: ignore[misc]
    """aiocoap's message layer, with a memory of its own for what was received (RFC 7252 section 4.5).

    aiocoap keeps every message as an object with a timer, without a bound. And it mistakes another message with
    an id that was used before for the old one; a board that starts again counts its ids from the same number.
    """

    def __init__(self, token_manager: TokenManager) -> None:
        super().__init__(token_manager)
        self._remembered: dict[tuple[CoapPeer, int], _Remembered] = {}

    def _deduplicate_message(self, message: Message) -> bool:
        """Return whether the message came before; if so, and if it was answered, the answer is sent again."""
        key, now = (message.remote, message.mid), self.loop.time()
        while self._remembered:
            oldest = next(iter(self._remembered))
            if self._remembered[oldest].until > now and len(self._remembered) < _REMEMBERED:
                break
            del self._remembered[oldest]
        found = self._remembered.get(key)
        if found is None or found.content != message.content:
            self._remembered.pop(key, None)
            self._remembered[key] = _Remembered(now + message.transport_tuning.EXCHANGE_LIFETIME, message.content)
            return False
        if message.mtype is CON and found.answer:
            again = Message.decode(found.answer, message.remote)
            again.direction = Direction.OUTGOING
            self._send_via_transport(again)
        return True

    def separate(self, request: Message) -> None:
        """Have a request answered by a message of its own; what comes again is only acknowledged."""
        if hasattr(request, "separate"):
            return
        request.separate = True
        mid, timer = self._piggyback_opportunities.pop((request.remote, request.token), (None, None))
        if mid is None:
            return
        timer.cancel()
        if found := self._remembered.get((request.remote, mid)):
            found.answer = Message(code=EMPTY, _mtype=ACK, _mid=mid).encode()

    def acknowledge(self, request: Message) -> None:
        """Acknowledge a request, if it is to be confirmed and was not yet."""
        mid, timer = self._piggyback_opportunities.pop((request.remote, request.token), (None, None))
        if mid is not None:
            timer.cancel()
            self._send_empty_ack(request.remote, mid, "it gets no answer")

    def send_message(self, message: Message, messageerror_monitor: Callable[[], None]) -> None:
        """Send a message. Answers do not wait until the ones before them are acknowledged; notifications do."""
        if on_acknowledged := getattr(message, "on_acknowledged", None):
            messageerror_monitor = _Monitor(messageerror_monitor, on_acknowledged)
        if skips := getattr(message.request, "separate", False):
            message.request.separate = False  # it is for one message
        waiting = self._backlogs.pop(message.remote, None) if skips else None
        super().send_message(message, messageerror_monitor)
        if waiting is not None:
            self._backlogs[message.remote] = waiting

    def _remove_exchange(self, message: Message) -> None:
        monitor, _ = self._active_exchanges.get((message.remote, message.mid), (None, None))
        super()._remove_exchange(message)
        if message.mtype is ACK and isinstance(monitor, _Monitor):
            monitor.on_acknowledged()

    def _continue_backlog(self, remote: CoapPeer) -> None:
        if remote in self._backlogs:  # else the last of several answers was given up before
            super()._continue_backlog(remote)

    def _retransmit(self, message: Message, timeout: float, retransmission_counter: int) -> None:
        self._backlogs.setdefault(message.remote, [])  # which it deletes when it gives up
        super()._retransmit(message, timeout, retransmission_counter)

    def _store_response_for_duplicates(self, message: Message) -> None:
        # Others have ids of this server's, which may be the same as one of the client's
        if message.mtype in (ACK, RST) and (found := self._remembered.get((message.remote, message.mid))):
            found.answer = message.encode()

    def unacknowledged(self, peer: CoapPeer) -> int:
        """Return how many messages wait for a peer that does not acknowledge the one before them."""
        return len(self._backlogs.get(peer, ()))

    async def shutdown(self) -> None:
        for _, timer in self._piggyback_opportunities.values():
            timer.cancel()
        await super().shutdown()


class _Endpoint(MessageInterfaceUDP6):  # type: ignore[misc]
    """aiocoap's UDP socket, which ignores what is not a CoAP message to this server alone."""

    site: Site
    on_malformed: Callable[[str], None]
    on_failure: Callable[[BaseException], None]

    def datagram_msg_received(
        self, data: bytes, ancdata: list[tuple[int, int, bytes]], _flags: int, sender: Any
    ) -> None:
        packet_info = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
        info = next((value for level, kind, value in ancdata if (level, kind) == packet_info), None)
        if info is None or _is_group(info):
            return
        peer = CoapPeer(sender, self, pktinfo=info)
        try:
            message = _decode(data, peer)
        except (UnparsableMessage, ValueError):
            self.on_malformed(peer.address)
            self._reset(data, peer)
            return
        if message.code.is_request() and not self.site.accepts():
            return
        try:
            self._ctx.dispatch_message(message)
        except Exception as error:  # noqa: BLE001 - else it ends in asyncio's log, where no one looks
            self.on_failure(error)

    def _reset(self, data: bytes, peer: CoapPeer) -> None:
        """Reject a confirmable message that has at least a header (RFC 7252 section 4.2)."""
        if len(data) >= 4 and data[0] & 0xF0 == 0x40:
            reset = Message(code=EMPTY, _mtype=RST, _mid=int.from_bytes(data[2:4], "big"))
            reset.remote = peer
            self.send(reset)


def _decode(data: bytes, peer: CoapPeer) -> Message:
    """Read a message. Raises UnparsableMessage or ValueError."""
    message = Message.decode(data, peer)
    length = data[0] & 0x0F
    bad_token = length > _TOKEN_LIMIT or len(message.token) < length
    if bad_token or data[1] >> 5 in _RESERVED_CLASSES or (message.code is EMPTY and len(data) > 4):
        raise UnparsableMessage
    message.transport_tuning = _TUNING
    message.content = hash(data)
    return message


def _is_group(info: bytes) -> bool:
    """Return whether a datagram was sent to a group, or to all; `info` is a struct in6_pktinfo (RFC 3542)."""
    address = info[:16]
    if address[:12] == bytes(10) + b"\xff\xff":
        return address[12] >= 0xE0
    return address[0] == 0xFF


class Stack:
    """A socket, and the layers on it."""

    def __init__(self, context: Context, messages: _Messages, port: int) -> None:
        self._context = context
        self._messages = messages
        self.port = port

    @classmethod
    async def listen(
        cls,
        site: Site,
        host: str,
        port: int,
        *,
        on_malformed: Callable[[str], None],
        on_failure: Callable[[BaseException], None],
    ) -> "Stack":
        """Return a stack whose requests a site answers.

        Args:
            site: Answers the requests.
            host: The address to listen on.
            port: 0 is any free one.
            on_malformed: Called with the address of a sender of what is not CoAP.
            on_failure: Called with an unexpected error.

        Raises:
            BenchError: The port is taken, or the address is not this machine's.
        """
        listener = _bind(host, port)
        loop = asyncio.get_running_loop()
        context = Context(loop=loop, serversite=site)
        context.log = _Log(on_failure)
        tokens = TokenManager(context)
        messages = _Messages(tokens)
        endpoint = await _Endpoint._create_transport_endpoint(listener, messages, context.log, loop)  # noqa: SLF001 - the public way accepts no socket, and shares the port with anybody
        if socknumbers.HAS_RECVERR:
            # With it the ICMP error that one client's closed port causes takes the place of another client's answer
            listener.setsockopt(socket.IPPROTO_IPV6, socknumbers.IPV6_RECVERR, 0)
            listener.setsockopt(socket.IPPROTO_IP, socknumbers.IP_RECVERR, 0)
        endpoint.transport.max_size = _LONGEST
        endpoint.site, endpoint.on_malformed, endpoint.on_failure = site, on_malformed, on_failure
        messages.message_interface, tokens.token_interface = endpoint, messages
        context.request_interfaces.append(tokens)
        return cls(context, messages, listener.getsockname()[1])

    def separate(self, request: Message) -> None:
        """Have a request answered by a message of its own, without an acknowledgement before."""
        self._messages.separate(request)

    def acknowledge(self, request: Message) -> None:
        """Acknowledge a request that gets no answer."""
        self._messages.acknowledge(request)

    def unacknowledged(self, peer: CoapPeer) -> int:
        """Return how many messages wait for a peer that does not acknowledge the one before them."""
        return self._messages.unacknowledged(peer)

    async def close(self) -> None:
        """End what is under way, and close the socket."""
        await self._context.shutdown()


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket of both families, as aiocoap needs it."""
    listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WAITING)  # the system may allow for less
        listener.bind((host if ":" in host else f"::ffff:{socket.gethostbyname(host)}", port))
    except OSError as error:
        listener.close()
        raise BenchError(
            f"cannot listen on {host} port {port}, UDP ({error.strerror}): "
            "choose another host or port (0 is any free one)"
        ) from error
    return listener


class _Log(logging.Logger):
    """aiocoap's logger. Its warnings are about peers, and quote them; its errors are ours."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__("coap", logging.ERROR)
        self._on_failure = on_failure

    def handle(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._on_failure(error or RuntimeError(record.module))
