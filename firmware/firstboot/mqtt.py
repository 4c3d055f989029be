"""MQTT 3.1.1 through umqtt.simple, with what that lacks: timeouts, keep-alive, error kinds.

Works with every umqtt.simple from 1.3.4 (2017) on: it uses only what all of them have.
"""

import time

from micropython import const
from umqtt import simple

from firstboot.errors import FirstbootError, LoginRefused, NetworkError, ProtocolError, Timeout
from firstboot.settings import Settings
from firstboot.stream import Stream, server_stream

# umqtt.simple counts packet ids up without end; the field has 16 bits (MQTT 3.1.1, 2.3.1).
_LAST_PACKET_ID = const(65534)
_PUBLISH = const(0x30)
# Messages that may wait while an acknowledgement is waited for.
_INBOX_LIMIT = const(8)
_DISCONNECT = b"\xe0\0"


class _Sockets:
    """A stand-in for the `socket` module inside umqtt.simple that returns our stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def socket(self, *_args: object) -> Stream:
        return self._stream

    def getaddrinfo(self, host: str, port: int, *_args: object) -> object:
        return [((host, port),)]  # the stream looks up the address that it then connects to


class _Client(simple.MQTTClient):
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

    The constructor raises as `tls.Tls` does, connect() PlaintextRefused, too; besides that every method
    raises NetworkError or a subclass, and nothing else. After an error only `close()` is left.

    Args:
        settings: the board's own.
        client_id: MQTT's client id.
        user: the user name; "" for none.
        password: "" for none.
        identity: the device's own `(certificate, key)` for TLS, DER both.
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
        self._stream = server_stream(settings, identity)
        self._inbox: list[tuple[bytes, bytes]] = []
        self._healthy = False
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

    def receive(self, wait_ms: int) -> tuple[bytes, bytes] | None:
        """Return the next `(topic, payload)` as bytes, or None after `wait_ms` without one.

        It also keeps the connection alive: call it at least once in half the keep-alive time.
        """
        self._keep_alive()
        if not self._inbox and self._stream.ready(wait_ms):
            self._do(self._read, sends=False)
        return self._inbox.pop(0) if self._inbox else None

    def close(self) -> None:
        """Send DISCONNECT if the connection still works, and free the socket. Raises nothing."""
        try:
            if self._healthy:
                self._do(self._disconnect)
        except NetworkError:
            pass  # it broke just now: only the socket is left to free
        self._stream.close()

    def _disconnect(self) -> None:
        # not umqtt.simple's disconnect(): that closes the socket before the packet has left it
        self._stream.write(_DISCONNECT)

    def _deliver(self, topic: bytes, payload: bytes) -> None:
        # also called in the middle of a subscribe or a publish, as often as the server likes
        if len(self._inbox) == _INBOX_LIMIT:
            raise ProtocolError("the server sends faster than it is answered")
        self._inbox.append((topic, payload))

    def _read(self) -> None:
        operation = self._client.check_msg()  # type: ignore[no-untyped-call]
        # None: a PINGRESP, or nothing; newer versions return a PUBLISH's own first byte
        if operation is not None and operation & 0xF0 != _PUBLISH:
            raise ProtocolError("the server sent a packet of type %d out of turn" % (operation >> 4))

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
        self._healthy = False
        if sends:
            self._sent_ms = time.ticks_ms()
        try:
            operation(*args)  # type: ignore[operator]
            self._stream.flush()
            self._healthy = True
        except FirstbootError:
            raise
        except simple.MQTTException as error:
            raise LoginRefused(error.args[0])
        except OSError as error:
            raise NetworkError("connection failed (%s)" % error)
        # umqtt.simple's reactions to unexpected bytes
        except (AssertionError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError("the server does not speak MQTT (%s)" % type(error).__name__)
