"""Framing: the messages in the stream of a TCP connection, for each protocol.

A framing is an asynchronous generator of whole messages. It ends with the connection; what the other end did not
finish is the last of them. Bytes that are not of the protocol pass as they come: the other end has to
react to them, which it cannot while it waits for the rest.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from bench.mqtt.codec import MalformedPacket, remaining_length

_CHUNK = 65536
_TLS_HEADER = 5
# Content types and the version's first byte (RFC 8446, section 5.1; 24: RFC 6520), and the most that a record has
# (RFC 5246, section 6.2.3).
_TLS_TYPES, _TLS_MAJOR, _TLS_LENGTH = range(20, 25), 3, (1 << 14) + 2048

Framing = Callable[[asyncio.StreamReader], AsyncIterator[bytes]]


class Protocol(StrEnum):
    """The protocol of a port."""

    MQTT = "mqtt"
    HTTP = "http"
    TLS = "tls"
    TCP = "tcp"  # an unknown protocol: a message is what arrives in one piece
    COAP = "coap"
    UDP = "udp"

    @property
    def framing(self) -> Framing | None:
        """The framing of its messages; None where each is a datagram."""
        return _FRAMINGS.get(self)


SPOKEN = {
    "mqtt": Protocol.MQTT,
    "mqtts": Protocol.TLS,
    "http": Protocol.HTTP,
    "https": Protocol.TLS,
    "coap": Protocol.COAP,
}
"""Protocols of the ports of the bench's server, by the names of the ports."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """A port of the server, and the `port` at which boards reach it instead, 0 for any free one."""

    to_port: int
    protocol: Protocol
    to_host: str = "127.0.0.1"
    port: int = 0


async def _with_lengths(
    reader: asyncio.StreamReader, read_header: Callable[[asyncio.StreamReader, bytearray], Awaitable[int | None]]
) -> AsyncIterator[bytes]:
    """Yield messages that begin with their length.

    `read_header` appends a header to the given bytes; it returns the number of bytes that follow, or None if the header
    is not of the protocol.
    """
    header = bytearray()
    try:
        while (length := await read_header(reader, header)) is not None:
            yield bytes(header) + await reader.readexactly(length)
            header.clear()
    except asyncio.IncompleteReadError as cut:
        if header or cut.partial:
            yield bytes(header) + cut.partial
        return
    except ConnectionError:
        return
    yield bytes(header)
    async for chunk in chunks(reader):
        yield chunk


def mqtt_packets(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield MQTT packets, header and all."""
    return _with_lengths(reader, _mqtt_header)


async def _mqtt_header(reader: asyncio.StreamReader, header: bytearray) -> int | None:
    try:
        return await remaining_length.read_header(reader, header)
    except MalformedPacket:
        return None


def tls_records(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield TLS records (RFC 8446, section 5.1)."""
    return _with_lengths(reader, _tls_header)


async def _tls_header(reader: asyncio.StreamReader, header: bytearray) -> int | None:
    header += await reader.readexactly(_TLS_HEADER)
    length = int.from_bytes(header[3:])
    return length if header[0] in _TLS_TYPES and header[1] == _TLS_MAJOR and length <= _TLS_LENGTH else None


async def http_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield one HTTP message's head, then its body as it comes. Good for one message each way on a connection."""
    pieces, head = chunks(reader), b""
    async for chunk in pieces:
        head += chunk
        if not head[:1].isalpha() or len(head) > _CHUNK:
            break  # not the head of an HTTP message
        head, end, body = head.partition(b"\r\n\r\n")
        if end:
            yield head + end
            head = body
            break
    if head:
        yield head
    async for chunk in pieces:
        yield chunk


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the bytes as they come."""
    try:
        while chunk := await reader.read(_CHUNK):
            yield chunk
    except ConnectionError:
        return


_FRAMINGS: dict[Protocol, Framing] = {
    Protocol.MQTT: mqtt_packets,
    Protocol.HTTP: http_chunks,
    Protocol.TLS: tls_records,
    Protocol.TCP: chunks,
}
