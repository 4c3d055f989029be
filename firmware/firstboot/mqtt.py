"""MQTT 3.1.1 through umqtt.simple, with what that lacks: timeouts, keep-alive, error kinds, bounded messages.

Works with every umqtt.simple from 1.3.4 (2017) on: it uses only what all of them have. All of them read a packet in
`wait_msg`, also while a publish or a subscribe waits: ours takes its place, and receives into one buffer.
"""

import time

from micropython import const
from umqtt import simple

from firstboot import events, memory, stream
from firstboot.errors import FirstbootError, LoginRefused, NetworkError, ProtocolError, Timeout
from firstboot.settings import Settings

# umqtt.simple counts packet ids up without end; the field has 16 bits (MQTT 3.1.1, 2.3.1).
_LAST_PACKET_ID = const(65534)
_PUBLISH = const(0x30)
_PINGRESP = const(0xD0)
# The longest topic of a message that anybody here listens to, in bytes.
_TOPIC_LIMIT = const(72)
# The longest message that is skipped; with a longer one the connection ends.
_SKIP_LIMIT = const(1 << 20)
# Messages that may wait while an acknowledgement is waited for; further ones are lost, as those that do not fit.
_INBOX_LIMIT = const(8)
_DISCONNECT = b"\xe0\0"


class _Sockets:
    """A stand-in for the `socket` module inside umqtt.simple that returns our stream."""

    def __init__(self, connection: stream.Stream) -> None:
        self._connection = connection

    def socket(self, *_args: object) -> stream.Stream:
        return self._connection

    def getaddrinfo(self, host: str, port: int, *_args: object) -> object:
        return [((host, port),)]  # the stream looks up the address that it then connects to


class _Client(simple.MQTTClient):
    def wait_msg(self) -> int | None:
        """Read one packet, of which only the first byte if it is an acknowledgement: umqtt.simple reads the rest."""
        first = int(self.sock.read(1)[0])
        if first & 0xF0 == _PUBLISH:
            self.cb(first, self._recv_len())
        elif first == _PINGRESP:
            if self._recv_len():
                raise ProtocolError("the server sent a PINGRESP with a content")
            return None
        return first

    def _recv_len(self) -> int:
        # umqtt.simple reads as many bytes as the peer sends, into a number that uses up the heap
        length = 0
        for shift in (0, 7, 14, 21):  # at most four bytes (MQTT 3.1.1, 2.2.3)
            byte = int(self.sock.read(1)[0])
            length |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return length
        raise ProtocolError("the server sent a length of more than four bytes")


class Mqtt:
    """One connection to the server, under TLS if the settings say so.

    The constructor raises as `tls.prepare` does, connect() PlaintextRefused, too; besides that every method
    raises NetworkError or a subclass, or MemoryError. After an error only `close()` is left, unless it is `healthy`.

    Args:
        settings: the board's own.
        client_id: MQTT's client id.
        user: the user name; "" for none.
        password: "" for none.
        identity: the device's own `(certificate, key)` for TLS, DER both.

    Attributes:
        healthy: whether the connection can go on, also after a MemoryError.
    """

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        user: str,
        password: str = "",
        identity: tuple[bytes, bytes] | None = None,
    ) -> None:
        self._timeout_ms = settings.number("session.timeout_ms")
        self._keepalive_ms = settings.number("session.keepalive_s") * 1000
        self._stream = stream.server_stream(settings, identity)
        self._buffer = stream.buffer(settings)
        self._used = 0  # of the buffer: by the messages in the inbox, and the one that was returned last
        self._inbox: list[tuple[bytes, memoryview | None, int]] = []
        self._lost = 0  # messages for which the inbox had no place
        self.healthy = False
        self._sent_ms = time.ticks_ms()  # of our last packet
        self._ping_ms = time.ticks_ms()  # of our last ping
        self._pinged = False  # and not answered yet
        # bytes: umqtt.simple counts characters where the protocol counts bytes
        self._client = _Client(
            client_id.encode(),
            settings.text("server.host"),
            port=settings.port(),
            user=user.encode() or None,
            password=password.encode(),
            keepalive=settings.number("session.keepalive_s"),
        )
        self._client.set_callback(self._deliver)

    def connect(self) -> None:
        """Open the connection and log in.

        Raises:
            LoginRefused: with CONNACK's code.
            PlaintextRefused: in clear to a public address.
        """
        # The only hook that all versions share: the name `socket` in the module's own globals.
        simple.socket = _Sockets(self._stream)  # type: ignore[attr-defined]
        self._do(self._client.connect)

    def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 0 and wait for the SUBACK."""
        try:
            self._do(self._client.subscribe, topic.encode())
        except LoginRefused:  # umqtt.simple raises the same for a SUBACK 0x80 as for a CONNACK
            raise ProtocolError("the server refused the subscription to %s" % topic)

    def publish(self, topic: str, payload: str, qos: int = 0) -> None:
        """Publish text; with `qos=1` return after the PUBACK."""
        if self._client.pid >= _LAST_PACKET_ID:
            self._client.pid = 0
        self._do(self._client.publish, topic.encode(), payload.encode(), False, qos)

    def receive(self, wait_ms: int) -> tuple[bytes, memoryview | None, int] | None:
        """Return the next message, or None after `wait_ms` without one.

        It also keeps the connection alive: call it at least once in half the keep-alive time.

        Returns:
            Its topic; its payload in the receive buffer, valid until the next call, or None if it did not fit; the
            payload's size.
        """
        self._keep_alive()
        if not self._inbox:
            self._used = 0
            if self._stream.ready(wait_ms):
                self._do(self._read, sends=False)
        if self._lost:
            events.emit("skipped", count=self._lost)
            self._lost = 0
        return self._inbox.pop(0) if self._inbox else None

    def close(self) -> None:
        """Send DISCONNECT if the connection still works, and free the socket. Raises nothing."""
        try:
            if self.healthy:
                self._do(self._disconnect)
        except NetworkError:
            pass  # it broke just now: only the socket is left to free
        self._stream.close()

    def _disconnect(self) -> None:
        # not umqtt.simple's disconnect(): that closes the socket before the packet has left it
        self._stream.write(_DISCONNECT)

    def _deliver(self, first: int, size: int) -> None:
        """Read a message: into the buffer, or past it; also in the middle of a subscribe or a publish.

        Args:
            first: the packet's first byte.
            size: its remaining length.
        """
        connection = self._stream
        acknowledge = first & 6
        if size > _SKIP_LIMIT:
            raise ProtocolError("the server announced a message of %d bytes" % size)
        if acknowledge > 2:
            raise ProtocolError("the server sent a message with a QoS that nobody asked for")
        topic_size = int.from_bytes(connection.read(2), "big")
        size -= topic_size + (4 if acknowledge else 2)
        if size < 0:
            raise ProtocolError("the server sent a message that is longer than its packet")
        topic = b""
        if topic_size <= _TOPIC_LIMIT:
            topic = connection.read(topic_size)
        else:  # none of ours
            connection.skip(topic_size)
        packet_id = connection.read(2) if acknowledge else b""
        payload = None
        has_place = len(self._inbox) < _INBOX_LIMIT
        if has_place and size <= len(self._buffer) - self._used:
            payload = self._buffer[self._used : self._used + size]
            self._used += size
            connection.readinto(payload)
        else:
            connection.skip(size)
        if packet_id:
            connection.write(b"\x40\x02" + packet_id)  # PUBACK
        if has_place:
            self._inbox.append((topic, payload, size))
        else:
            self._lost += 1

    def _read(self) -> None:
        first = self._client.wait_msg()
        if first is not None and first & 0xF0 != _PUBLISH:
            raise ProtocolError("the server sent a packet of type %d out of turn" % (first >> 4))

    def _keep_alive(self) -> None:
        now = time.ticks_ms()
        if self._pinged:
            if time.ticks_diff(self._stream.received_ms, self._ping_ms) >= 0:
                self._pinged = False
            elif time.ticks_diff(now, self._ping_ms) > self._timeout_ms:
                raise Timeout("no answer to a ping")
        elif time.ticks_diff(now, self._sent_ms) > self._keepalive_ms // 2:
            self._do(self._client.ping)
            self._ping_ms = now
            self._pinged = True

    def _do(self, operation: object, *args: object, sends: bool = True) -> None:
        """Run one operation of umqtt.simple within the timeout, and translate its exceptions."""
        self._stream.within(self._timeout_ms)
        self.healthy = False
        if sends:
            self._sent_ms = time.ticks_ms()
        try:
            operation(*args)  # type: ignore[operator]
            self._stream.flush()
            self.healthy = True
        except FirstbootError:
            raise
        except simple.MQTTException as error:
            raise LoginRefused(error.args[0])
        except OSError as error:
            memory.check(error)
            raise NetworkError("connection failed (%s)" % error)
        # umqtt.simple's reactions to unexpected bytes
        except (AssertionError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError("the server does not speak MQTT (%s)" % type(error).__name__)
