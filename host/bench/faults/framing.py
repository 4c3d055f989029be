"""Where one message ends and the next begins on a TCP connection, for each protocol.

A framing is an asynchronous generator of whole messages. It ends with the connection; what the other
end did not finish saying is lost.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

_CHUNK = 65536
_TLS_HEADER = 5

Framing = Callable[[asyncio.StreamReader], AsyncIterator[bytes]]


async def mqtt_packets(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """MQTT packets, header and all."""
    try:
        while True:
            header = await reader.readexactly(2)
            while header[-1] & 0x80:
                header += await reader.readexactly(1)
            length = sum((byte & 0x7F) << 7 * index for index, byte in enumerate(header[1:]))
            yield header + await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return


async def tls_records(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """TLS records (RFC 8446, section 5.1)."""
    try:
        while True:
            header = await reader.readexactly(_TLS_HEADER)
            yield header + await reader.readexactly(int.from_bytes(header[3:]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return


async def http_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """One HTTP message's head, then its body as it comes. Good for one message each way on a connection."""
    try:
        yield await reader.readuntil(b"\r\n\r\n")
        while chunk := await reader.read(_CHUNK):
            yield chunk
    except (asyncio.IncompleteReadError, ConnectionError):
        return
