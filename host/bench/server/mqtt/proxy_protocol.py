"""The PROXY protocol, versions 1 and 2: a proxy's word for whose connection it passes on.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

import asyncio
import ipaddress
from collections.abc import Callable, Generator
from typing import cast

from bench.server.accepting import Tls
from bench.server.trusted_proxies import TrustedProxies, read_address

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_LONGEST = 107
# Bytes after the head of version 2: addresses, and what else a proxy tells of a TLS client.
_V2_LONGEST = 4096
_V2 = 0x20
_LOCAL, _PROXY = 0, 1
# Of version 2: the number of bytes of an address, by family.
_FAMILIES = {0x1: 4, 0x2: 16}


class BadProxyHeader(Exception):
    """Not a header of the PROXY protocol."""


def read_header() -> Generator[int, bytes, str | None]:
    """Read a header: yield how many bytes are wanted next, and return the client's address.

    Not a byte too many is wanted, so that what follows is left for TLS. None stands for the proxy itself, which looks
    whether this server is there.

    Raises:
        BadProxyHeader: It is not one.
    """
    head = yield len(_SIGNATURE)
    if head == _SIGNATURE:
        return (yield from _read_v2())
    if head.startswith(b"PROXY "):
        return (yield from _read_v1(head))
    raise BadProxyHeader


def _read_v1(head: bytes) -> Generator[int, bytes, str | None]:
    while not head.endswith(b"\r\n"):
        if len(head) == _V1_LONGEST:
            raise BadProxyHeader
        head += yield 1
    match head[:-2].split(b" "):
        case [_, b"UNKNOWN", *_]:
            return None
        case [_, (b"TCP4" | b"TCP6") as family, source, _, _, _]:
            address = read_address(source.decode("latin-1"))
            if address is not None and (b":" in source) == (family == b"TCP6"):
                return address
    raise BadProxyHeader


def _read_v2() -> Generator[int, bytes, str | None]:
    what, family, *length = yield 4
    size = int.from_bytes(bytes(length), "big")
    if what & 0xF0 != _V2 or what & 0x0F not in (_LOCAL, _PROXY) or size > _V2_LONGEST:
        raise BadProxyHeader
    rest = (yield size) if size else b""
    if what & 0x0F == _LOCAL or (width := _FAMILIES.get(family >> 4)) is None:
        return None
    if len(rest) < 2 * width + 4:
        raise BadProxyHeader
    return read_address(str(ipaddress.ip_address(rest[:width])))


class ProxiedConnection(asyncio.BufferedProtocol):
    """A connection until its client is known; a protocol that is made for that client then takes it over.

    Proxies have to send a header: were it left to them, clients could send one of their own. From others none is read.

    Args:
        proxies: Who sends a header.
        accept: Makes the protocol for a client's address.
        tls: TLS behind the header; None for plain TCP.
        deadline_s: For the header, seconds.
        on_malformed: Called with the address of a proxy that does not send one.
        on_lost: Called when the connection is gone, if its protocol may not have heard of it.
    """

    def __init__(  # noqa: PLR0913 - it stands between two
        self,
        proxies: TrustedProxies,
        accept: Callable[[str], asyncio.BaseProtocol],
        tls: Tls | None,
        deadline_s: float,
        *,
        on_malformed: Callable[[str], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._proxies = proxies
        self._accept = accept
        self._tls = tls
        self._deadline_s = deadline_s
        self._on_malformed = on_malformed
        self._on_lost = on_lost
        self._reader = read_header()
        self._buffer = memoryview(bytearray(next(self._reader)))
        self._read = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass of it
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._timer = asyncio.get_running_loop().call_later(self._deadline_s, self._refuse)
        if self._peer not in self._proxies:
            self._hand_over(self._peer)

    def get_buffer(self, _hint: int) -> memoryview:
        return self._buffer[self._read :]

    def buffer_updated(self, size: int) -> None:
        self._read += size
        if self._read < len(self._buffer):
            return
        try:
            self._buffer, self._read = memoryview(bytearray(self._reader.send(bytes(self._buffer)))), 0
        except StopIteration as done:
            self._hand_over(done.value or self._peer)
        except BadProxyHeader:
            self._refuse()

    def connection_lost(self, _error: Exception | None) -> None:
        self._timer.cancel()
        self._on_lost()

    def _refuse(self) -> None:
        self._on_malformed(self._peer)
        self._transport.abort()

    def _hand_over(self, address: str) -> None:
        self._timer.cancel()
        protocol = self._accept(address)
        if self._tls:  # `loop.start_tls` hands over data before the connection
            protocol = self._tls.protocol(protocol, on_lost=self._on_lost)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
