"""A reader of the packets that a server sends, written from the standard alone.

Everything else of the bench reads MQTT with `bench.mqtt.codec`. This reader shares nothing with it on purpose: the
bench's own server is written with that codec, and one mistake in it would hide at both ends if the checks read with it,
too. The packets that the checks send come from `bench.mqtt.client_packets`; `level` is MQTT's protocol level there and
here: 4 for 3.1.1, 5 for MQTT 5.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from bench.conformance.check import Broken
from bench.conformance.server.addresses import CheckedAddresses
from bench.errors import BenchError
from bench.mqtt import client_packets

PROVISION = "provision"
REQUEST, RESPONSE = "/provision/request", "/provision/response"

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 13, 14
_KINDS = {
    CONNACK: "CONNACK",
    PUBLISH: "PUBLISH",
    PUBACK: "PUBACK",
    SUBACK: "SUBACK",
    PINGRESP: "PINGRESP",
    DISCONNECT: "DISCONNECT",
}
# Server unavailable; in MQTT 5 also quota exceeded, connection rate exceeded.
_BUSY = {3, 0x88, 0x97, 0x9F}
# No packet of the API is longer by far, and no server sends so many before it closes.
_LONGEST, _MOST = 1 << 20, 100
# Bytes of a packet that are shown: ids and codes. The bytes behind them may be anything, even a token.
_SHOWN = 4


def _number(data: bytes) -> tuple[int, int]:
    """Return a variable-length number (MQTT 3.1.1, section 2.2.3) and its length in bytes; 0 and 0 if it is cut off."""
    number = 0
    for at, byte in enumerate(data):
        number |= (byte & 127) << 7 * at
        if byte < 128:
            return number, at + 1
    return 0, 0


@dataclass(frozen=True)
class ServerPacket:
    """A packet from the server."""

    kind: int
    flags: int
    body: bytes
    level: int

    def __str__(self) -> str:
        name = _KINDS.get(self.kind, f"a packet of type {self.kind}")
        shown = self.body[:_SHOWN].hex(" ") if self.kind in _KINDS and self.kind != PUBLISH else ""
        return f"{name} ({shown})" if shown else name

    @property
    def packet_id(self) -> int:
        """The packet id of PUBACK and SUBACK."""
        return int.from_bytes(self.body[:2], "big")

    @property
    def code(self) -> int:
        """The code of CONNACK, and in MQTT 5 the reason code of PUBACK and DISCONNECT; 0 if it is left out."""
        at = {CONNACK: 1, PUBACK: 2, DISCONNECT: 0}[self.kind]
        return self.body[at] if len(self.body) > at else 0

    @property
    def codes(self) -> list[int]:
        """The codes of SUBACK: the granted QoS, or 0x80 and above for a refusal."""
        return list(self.body[2 + self._properties_at(2) :])

    @property
    def qos(self) -> int:
        """The QoS of PUBLISH."""
        return self.flags >> 1 & 3

    @property
    def message(self) -> tuple[str, bytes]:
        """Topic and payload of PUBLISH, which a client acknowledges with `own_id`."""
        end = 2 + int.from_bytes(self.body[:2], "big")
        begin = end + (2 if self.qos else 0)
        return self.body[2:end].decode(errors="replace"), self.body[begin + self._properties_at(begin) :]

    @property
    def own_id(self) -> int:
        """The packet id of PUBLISH; 0 with QoS 0."""
        end = 2 + int.from_bytes(self.body[:2], "big")
        return int.from_bytes(self.body[end : end + 2], "big") if self.qos else 0

    def _properties_at(self, begin: int) -> int:
        """Return the size of the properties at an offset, including their length field, in bytes."""
        return sum(_number(self.body[begin : begin + 4])) if self.level == 5 else 0


class MqttConnection:
    """A connection to the server. A context manager. Broken is raised for packets that do not come, or are wrong."""

    def __init__(self, line: socket.socket, *, level: int, patience_s: float) -> None:
        """Make the reader of a connection.

        Args:
            line: The connection, which is closed at the end.
            level: MQTT's protocol level, 4 or 5.
            patience_s: Seconds that the server may take for each packet.
        """
        self._line = line
        self._patience_s = patience_s
        self._unread = b""
        self.level = level

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def send(self, data: bytes) -> None:
        """Send packets. A server that is gone raises nothing here: that shows when no answer comes."""
        with suppress(OSError):
            self._line.sendall(data)

    def receive(self, deadline: float | None = None) -> ServerPacket | None:
        """Return the next packet; None if the server closed the connection.

        Args:
            deadline: The time of the monotonic clock to wait until, e.g. one for several packets; None: `patience_s`
                from now.

        Raises:
            Broken: Neither comes in time, or the bytes are not a packet, or a packet is longer than 1 MiB.
        """
        deadline = self._deadline() if deadline is None else deadline
        while True:
            if time.monotonic() > deadline:
                raise Broken(f"nothing that was asked for came within {self._patience_s:g} s")
            if (found := self._cut()) is not None:
                return found
            self._line.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._line.recv(65536)
            except TimeoutError:
                raise Broken(f"nothing came within {self._patience_s:g} s") from None
            except OSError:  # reset: closed, too
                data = b""
            if not data:
                return None
            self._unread += data

    def _deadline(self) -> float:
        return time.monotonic() + self._patience_s

    def _cut(self) -> ServerPacket | None:
        """Remove the next packet from the bytes that were read; None if it is not complete. Raises Broken."""
        length, begin = _number(self._unread[1:5])
        if not begin:
            if len(self._unread) >= 5:
                raise Broken("what came is not a packet: its length has more than four bytes")
            return None
        if length > _LONGEST:
            raise Broken(f"a packet of {length} bytes came")
        begin, end = 1 + begin, 1 + begin + length
        if len(self._unread) < end:
            return None
        first, body, self._unread = self._unread[0], self._unread[begin:end], self._unread[end:]
        return ServerPacket(first >> 4, first & 15, body, self.level)

    def expect(self, kind: int) -> ServerPacket:
        """Expect the next packet to be of this type, and return it.

        Args:
            kind: The type, e.g. CONNACK.

        Raises:
            Broken: No packet comes in time, or one of another type, or the connection is closed.
        """
        found = self.receive()
        if found is None:
            raise Broken(f"the connection was closed instead of {_KINDS[kind]}")
        if found.kind != kind:
            raise Broken(f"{found} came instead of {_KINDS[kind]}")
        return found

    def expect_closed(self) -> list[ServerPacket]:
        """Expect the server to close the connection within `patience_s`.

        Returns:
            The packets before that.

        Raises:
            Broken: It is still open then, or more than a hundred packets came.
        """
        packets: list[ServerPacket] = []
        deadline = self._deadline()
        while True:
            try:
                found = self.receive(deadline)
            except Broken:
                after = f" after {', '.join(map(str, packets[:3]))}" if packets else ""
                raise Broken(f"the connection was still open after {self._patience_s:g} s{after}") from None
            if found is None:
                return packets
            packets.append(found)
            if len(packets) > _MOST:
                raise Broken(f"the server goes on talking: {len(packets)} packets, of which the first was {packets[0]}")

    def expect_nothing_more(self) -> None:
        """Expect that nothing more was sent, and the connection is alive: the next packet answers a ping.

        Raises:
            Broken: Anything else comes, or nothing in time.
        """
        self.send(client_packets.PING)
        self.expect(PINGRESP)

    def is_let_in(self) -> bool:
        """Return whether the next packet is a CONNACK that accepts a login; False for an end, too."""
        try:
            found = self.receive()
        except Broken:
            return False
        return found is not None and found.kind == CONNACK and not found.code

    def answer(self) -> ServerPacket:
        """Return the PUBLISH that answers a provisioning request. It is acknowledged; packets before it are skipped.

        Raises:
            Broken: No answer comes within `patience_s`, or the connection is closed.
        """
        deadline = self._deadline()
        while (found := self.receive(deadline)) is not None:
            if found.kind == PUBLISH and found.message[0] == RESPONSE:
                if found.qos:
                    self.send(client_packets.packet(0x40, found.own_id.to_bytes(2, "big")))
                return found
        raise Broken("the connection was closed instead of an answer")


@contextmanager
def opened(addresses: CheckedAddresses, *, level: int = 4) -> Iterator[MqttConnection]:
    """Open a connection, on which nothing was sent yet; over TLS if there is no plain address.

    Args:
        addresses: The server.
        level: MQTT's protocol level, 4 or 5.

    Raises:
        BenchError: The server is not reached.
        NotHere: There is no address for MQTT.
    """
    with MqttConnection(
        addresses.connection(addresses.at("mqtt", "mqtts")), level=level, patience_s=addresses.patience_s
    ) as line:
        yield line


def login(line: MqttConnection, client_id: str = "", username: str | None = None, password: str | None = None) -> int:
    """Send a CONNECT, and return the code of its CONNACK, 0 for an accepted login.

    Args:
        line: The connection.
        client_id: The client id; empty: the server makes one.
        username: The user name, e.g. an access token; None: none is sent.
        password: The password; None: none is sent.

    Raises:
        Broken: No CONNACK comes.
        BenchError: The server is not available now, or limits the rate of logins: this says nothing of the login.
    """
    line.send(client_packets.connect(client_id, username, password, level=line.level))
    code = line.expect(CONNACK).code
    if code in _BUSY:
        raise BenchError(f"CONNACK {code:#x}: the server is not available now, or has heard too much from here")
    return code


@contextmanager
def session(addresses: CheckedAddresses, username: str, *, level: int = 4) -> Iterator[MqttConnection]:
    """Open a connection, and log in.

    Args:
        addresses: The server.
        username: `provision`, or an access token.
        level: MQTT's protocol level, 4 or 5.

    Raises:
        Broken: The login is refused, or no CONNACK comes.
        BenchError: The server is not reached, or not available now.
        NotHere: There is no address for MQTT.
    """
    with opened(addresses, level=level) as line:
        if code := login(line, username=username):
            raise Broken(f"CONNACK {code:#x} instead of 0")
        yield line
