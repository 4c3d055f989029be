"""The remaining length of a packet (2.2.3), which MQTT 5 calls a variable byte integer (MQTT 5, 1.5.5).

Seven bits a byte, least significant first, in four bytes at most. This is the one place of the bench that reads and
writes it, but for the conformance checks of a server (`bench.conformance.server.mqtt_wire`).
"""

import asyncio

from bench.mqtt.codec.packets import MalformedPacket

_BYTES = 4


def encode(length: int) -> bytes:
    """Return a length, from 0 to 268,435,455, in as few bytes as possible (1 to 4)."""
    encoded = bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def decode(data: bytes | bytearray, begin: int = 1) -> tuple[int, int] | None:
    """Decode a length in the middle of some bytes.

    Args:
        data: A packet or more, or the beginning of one.
        begin: Offset of the length; by default behind a packet's first byte.

    Returns:
        The length in bytes, and the offset behind it, from which it counts; None if its last byte is not there yet.

    Raises:
        MalformedPacket: It has more than four bytes.
    """
    if begin < len(data) and (only := data[begin]) < 0x80:  # as most are
        return only, begin + 1
    length = shift = 0
    for byte in data[begin : begin + _BYTES]:
        begin += 1
        if byte < 0x80:
            return length | byte << shift, begin
        length |= (byte & 0x7F) << shift
        shift += 7
    if shift == _BYTES * 7:
        raise MalformedPacket("the remaining length has more than four bytes (2.2.3)")
    return None


async def read_header(reader: asyncio.StreamReader, header: bytearray) -> int:
    """Read a packet's fixed header (2.2) from a stream, and nothing behind it.

    Args:
        reader: A stream whose next byte is a packet's first.
        header: Receives the header's bytes as they arrive, so that none is lost if the stream ends early.

    Returns:
        The number of bytes that follow the header.

    Raises:
        MalformedPacket: The length has more than four bytes.
        asyncio.IncompleteReadError: The stream ended before or in the header.
    """
    header += await reader.readexactly(2)
    while (found := decode(header)) is None:
        header += await reader.readexactly(1)
    return found[0]
