"""An MQTT 3.1.1 connection of a light device, with the deadlines of the firmware.

Sections in comments and docstrings are those of the MQTT 3.1.1 standard.
"""

import asyncio
import contextlib
import json
import ssl
from typing import Self

from bench.mqtt import client_packets
from bench.mqtt.codec import PACKET_LIMIT, PacketType, remaining_length

# The defaults of a board's settings.
TIMEOUT_MS, KEEP_ALIVE_S = 10000, 60
_REFUSES_CREDENTIALS = (4, 5)  # CONNACK (3.2.2.3): bad user name or password, not authorized


class ConnackError(Exception):
    """A CONNACK that refuses the login. `credentials`: True if it is for its credentials."""

    def __init__(self, code: int) -> None:
        """Make the error from the return code of a CONNACK (3.2.2.3), which is not 0."""
        super().__init__(f"login refused ({code})")
        self.credentials = code in _REFUSES_CREDENTIALS


class Connection:
    """A connection with one request at a time, each with a deadline of TIMEOUT_MS.

    All its requests raise OSError (TimeoutError among them) if the connection breaks or the deadline passes, EOFError
    if the server closes it, and ValueError for an unexpected answer.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls, address: tuple[str, int], *, source: tuple[str, int] | None, tls: ssl.SSLContext | None, name: str
    ) -> Self:
        """Connect over TCP, or over TLS.

        Args:
            address: The server's address and port.
            source: The local address and port; None for any.
            tls: The context of TLS; None for a plain connection.
            name: The name that the server's certificate has to have, with TLS.

        Raises:
            OSError: There is no connection within TIMEOUT_MS, or TLS failed, e.g. ssl.SSLCertVerificationError.
        """
        async with asyncio.timeout(TIMEOUT_MS / 1000):
            return cls(
                *await asyncio.open_connection(
                    *address, local_addr=source, ssl=tls, server_hostname=name if tls else None
                )
            )

    async def log_in(self, client_id: str, user: str) -> None:
        """Send CONNECT, and wait for its CONNACK.

        Args:
            client_id: The client id.
            user: The user name: an access token, or `provision`.

        Raises:
            ConnackError: The CONNACK has another return code than 0.
            OSError, EOFError: The connection failed.
            ValueError: The answer is not a CONNACK.
        """
        hello = client_packets.connect(client_id, user, keep_alive_s=KEEP_ALIVE_S)
        first, body = await self._request(hello)
        if first != client_packets.ACCEPTED[0] or len(body) != 2:
            raise ValueError("no CONNACK")
        if body[1]:
            raise ConnackError(body[1])

    async def provision(self, request: bytes) -> str:
        """Send a provisioning request, and return the status in its answer.

        Args:
            request: The JSON of the request.

        Returns:
            The `status`, e.g. `SUCCESS`; `None` as text if the answer has none.

        Raises:
            OSError, EOFError: The connection failed.
            ValueError: The answer is not a JSON object in a PUBLISH.
        """
        await self.acknowledged(client_packets.subscribe(1, ("/provision/response", 0)), client_packets.GRANTED)
        first, body = await self._request(client_packets.publish("/provision/request", request, qos=0))
        try:
            answer = json.loads(_message(body))
        except RecursionError:
            raise ValueError("an answer that is nested too deeply") from None
        if first >> 4 != PacketType.PUBLISH or not isinstance(answer, dict):
            raise ValueError("no answer to the request")
        return str(answer.get("status"))

    async def acknowledged(self, packet: bytes, wanted: bytes) -> None:
        """Send a packet, and require a certain answer.

        Args:
            packet: The packet.
            wanted: The answer, byte by byte.

        Raises:
            OSError, EOFError: The connection failed.
            ValueError: There was another answer.
        """
        first, body = await self._request(packet)
        if client_packets.packet(first, body) != wanted:
            raise ValueError("not the answer to this packet")

    async def stay(self) -> None:
        """Send a PINGREQ every half keep-alive, until the connection fails.

        Raises:
            OSError, EOFError: The connection failed.
            ValueError: The server sent anything but a PINGRESP.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KEEP_ALIVE_S / 2):
                    await self._reader.readexactly(1)
                    raise ValueError("a packet without a request")
            await self.acknowledged(client_packets.PING, client_packets.PONG)

    def close(self) -> None:
        """Send DISCONNECT if the connection is still open, and close it."""
        if not self._writer.is_closing():
            self._writer.write(client_packets.DISCONNECT)
        self._writer.close()

    async def _request(self, packet: bytes) -> tuple[int, bytes]:
        async with asyncio.timeout(TIMEOUT_MS / 1000):
            self._writer.write(packet)
            header = bytearray()
            length = await remaining_length.read_header(self._reader, header)
            if length > PACKET_LIMIT:
                raise ValueError("a packet that is too long for an answer")
            return header[0], await self._reader.readexactly(length)


def _message(body: bytes) -> bytes:
    """Return the payload of a PUBLISH with QoS 0 (3.3). Raises ValueError if the body ends in the topic."""
    end = 2 + int.from_bytes(body[:2], "big")
    if len(body) < end:
        raise ValueError("a message that ends within its topic")
    return body[end:]
