"""A light device's connection: MQTT 3.1.1 with deadlines, as the firmware speaks it."""

import asyncio
import contextlib
import json
import ssl
from typing import Self

from bench.mqtt import client_packets
from bench.mqtt.codec import PACKET_LIMIT, PacketType, remaining_length

# As a board's settings have them if they say nothing else.
TIMEOUT_MS, KEEP_ALIVE_S = 10000, 60
_REFUSES_CREDENTIALS = (4, 5)  # CONNACK (3.2.2.3)


class Refused(Exception):
    """The server refuses a login, with CONNACK's code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"login refused ({code})")
        self.credentials = code in _REFUSES_CREDENTIALS


class Connection:
    """A connection under way: one question at a time, each with a deadline. Raises OSError, EOFError, ValueError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls, address: tuple[str, int], *, source: tuple[str, int] | None, tls: ssl.SSLContext | None, name: str
    ) -> Self:
        """Connect, from `source` if that matters. `name` is what the certificate is for."""
        async with asyncio.timeout(TIMEOUT_MS / 1000):
            return cls(
                *await asyncio.open_connection(
                    *address, local_addr=source, ssl=tls, server_hostname=name if tls else None
                )
            )

    async def log_in(self, client_id: str, user: str) -> None:
        """Raises Refused."""
        hello = client_packets.connect(client_id, user, keep_alive_s=KEEP_ALIVE_S)
        first, body = await self._ask(hello)
        if first != client_packets.ACCEPTED[0] or len(body) != 2:
            raise ValueError("no CONNACK")
        if body[1]:
            raise Refused(body[1])

    async def provision(self, request: bytes) -> str:
        """The status that a request is answered with."""
        await self.acknowledged(client_packets.subscribe(1, ("/provision/response", 0)), client_packets.GRANTED)
        first, body = await self._ask(client_packets.publish("/provision/request", request, qos=0))
        try:
            answer = json.loads(_message(body))
        except RecursionError:
            raise ValueError("an answer of too many brackets") from None
        if first >> 4 != PacketType.PUBLISH or not isinstance(answer, dict):
            raise ValueError("no answer to the request")
        return str(answer.get("status"))

    async def acknowledged(self, packet: bytes, wanted: bytes) -> None:
        """Say something, and hear what it is answered with."""
        first, body = await self._ask(packet)
        if client_packets.packet(first, body) != wanted:
            raise ValueError("another answer than the one to this packet")

    async def stay(self) -> None:
        """Keep alive; ends with an error."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KEEP_ALIVE_S / 2):
                    await self._reader.readexactly(1)
                    raise ValueError("a packet that nothing was asked for")
            await self.acknowledged(client_packets.PING, client_packets.PONG)

    def close(self) -> None:
        """Say goodbye if it can be heard."""
        if not self._writer.is_closing():
            self._writer.write(client_packets.DISCONNECT)
        self._writer.close()

    async def _ask(self, packet: bytes) -> tuple[int, bytes]:
        async with asyncio.timeout(TIMEOUT_MS / 1000):
            self._writer.write(packet)
            header = bytearray()
            length = await remaining_length.read_header(self._reader, header)
            if length > PACKET_LIMIT:
                raise ValueError("a packet that no answer is as long as")
            return header[0], await self._reader.readexactly(length)


def _message(body: bytes) -> bytes:
    """The payload of a PUBLISH with QoS 0. Raises ValueError if it is none."""
    end = 2 + int.from_bytes(body[:2], "big")
    if len(body) < end:
        raise ValueError("the server sent half a message")
    return body[end:]
