"""MQTT packets byte by byte, as a client sends and expects them; written from the standard, not from the server."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy.orm import Session

from bench.registry import profiles
from bench.registry.provision_type import ProvisionType
from bench.registry.views import ProfileView
from tests.support.raw_client import RawClient
from tests.support.servers import RunningServer

PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"
DISCONNECT = b"\xe0\x00"

PROVISION_REQUEST = "/provision/request"
PROVISION_RESPONSE = "/provision/response"
TELEMETRY = "v1/devices/me/telemetry"
ATTRIBUTES = "v1/devices/me/attributes"
TOKEN = "the-token"

NOT_FOUND = b'{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}'
FAILURE = b'{"errorMsg":"Failed to provision device!","status":"FAILURE"}'


def success(token: str) -> bytes:
    return b'{"credentialsValue":"%s","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}' % token.encode()


def packet(first: int, body: bytes) -> bytes:
    """Return a packet: a fixed header with the shortest remaining length, and the body."""
    return bytes([first]) + variable(len(body)) + body


def variable(number: int) -> bytes:
    digits = b""
    while number > 127:
        digits += bytes([number % 128 + 128])
        number //= 128
    return digits + bytes([number])


def word(number: int) -> bytes:
    return bytes([number // 256, number % 256])


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return word(len(data)) + data


def connect(
    client_id: str | bytes = "client",
    username: str | bytes | None = None,
    password: bytes | None = None,
    *,
    clean: bool = True,
    keep_alive: int = 0,
    protocol: str | bytes = "MQTT",
    level: int = 4,
    will: tuple[str, bytes] | None = None,
    extra_flags: int = 0,
) -> bytes:
    flags = 2 * clean + 128 * (username is not None) + 64 * (password is not None) + 4 * (will is not None)
    body = text(protocol) + bytes([level, flags | extra_flags]) + word(keep_alive) + text(client_id)
    if will is not None:
        body += text(will[0]) + text(will[1])
    if username is not None:
        body += text(username)
    if password is not None:
        body += text(password)
    return packet(0x10, body)


def connack(code: int, *, session_present: bool = False) -> bytes:
    return bytes([0x20, 2, session_present, code])


def publish(topic: str | bytes, payload: bytes = b"", *, qos: int = 0, packet_id: int = 1, flags: int = 0) -> bytes:
    return packet(0x30 + 2 * qos + flags, text(topic) + (word(packet_id) if qos else b"") + payload)


def puback(packet_id: int) -> bytes:
    return b"\x40\x02" + word(packet_id)


def subscribe(packet_id: int, *filters: tuple[str | bytes, int]) -> bytes:
    return packet(0x82, word(packet_id) + b"".join(text(topic) + bytes([qos]) for topic, qos in filters))


def suback(packet_id: int, *codes: int) -> bytes:
    return packet(0x90, word(packet_id) + bytes(codes))


def unsubscribe(packet_id: int, *filters: str | bytes) -> bytes:
    return packet(0xA2, word(packet_id) + b"".join(map(text, filters)))


def unsuback(packet_id: int) -> bytes:
    return b"\xb0\x02" + word(packet_id)


# MQTT 5. Properties are given as encoded bytes, one after the other; None leaves out even their length.


def properties(data: bytes | None) -> bytes:
    return b"" if data is None else variable(len(data)) + data


def connect5(
    client_id: str | bytes = "client",
    username: str | bytes | None = None,
    password: bytes | None = None,
    *,
    clean: bool = True,
    keep_alive: int = 0,
    has: bytes = b"",
    will: tuple[bytes, str, bytes] | None = None,
    extra_flags: int = 0,
) -> bytes:
    flags = 2 * clean + 128 * (username is not None) + 64 * (password is not None) + 4 * (will is not None)
    body = text("MQTT") + bytes([5, flags | extra_flags]) + word(keep_alive) + properties(has) + text(client_id)
    if will is not None:
        body += properties(will[0]) + text(will[1]) + text(will[2])
    if username is not None:
        body += text(username)
    if password is not None:
        body += text(password)
    return packet(0x10, body)


def connack5(reason: int, *, session_present: bool = False) -> bytes:
    return bytes([0x20, 3, session_present, reason, 0])


def publish5(
    topic: str | bytes, payload: bytes = b"", *, qos: int = 0, packet_id: int = 1, flags: int = 0, has: bytes = b""
) -> bytes:
    head = text(topic) + (word(packet_id) if qos else b"") + properties(has)
    return packet(0x30 + 2 * qos + flags, head + payload)


def acknowledgement5(first: int, packet_id: int, reason: int | None = None, has: bytes | None = None) -> bytes:
    """Return a PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return packet(first, word(packet_id) + (b"" if reason is None else bytes([reason])) + properties(has))


def subscribe5(packet_id: int, *filters: tuple[str | bytes, int], has: bytes = b"") -> bytes:
    wanted = b"".join(text(topic) + bytes([options]) for topic, options in filters)
    return packet(0x82, word(packet_id) + properties(has) + wanted)


def suback5(packet_id: int, *codes: int) -> bytes:
    return packet(0x90, word(packet_id) + b"\0" + bytes(codes))


def unsubscribe5(packet_id: int, *filters: str | bytes, has: bytes = b"") -> bytes:
    return packet(0xA2, word(packet_id) + properties(has) + b"".join(map(text, filters)))


def unsuback5(packet_id: int, *codes: int) -> bytes:
    return packet(0xB0, word(packet_id) + b"\0" + bytes(codes))


def disconnect5(reason: int | None = None, has: bytes | None = None) -> bytes:
    return packet(0xE0, (b"" if reason is None else bytes([reason])) + properties(has))


def auth5(reason: int | None = None, has: bytes | None = None) -> bytes:
    return packet(0xF0, (b"" if reason is None else bytes([reason])) + properties(has))


class Old:
    """MQTT 3.1.1: the packets that a client sends, and those that it expects."""

    publish = staticmethod(publish)
    subscribe = staticmethod(subscribe)
    unsubscribe = staticmethod(unsubscribe)
    explains = False

    def connect(self, client_id: str | bytes = "client", username: str | bytes | None = None, **options: Any) -> bytes:
        return connect(client_id, username, **options)

    def accepted(self, *, session_present: bool = False) -> bytes:
        return connack(0, session_present=session_present)

    def refused(self, code: int, _reason: int, _farewell: int | None = None) -> bytes:
        return connack(code)

    def puback(self, packet_id: int, _reason: int = 0) -> bytes:
        return puback(packet_id)

    def suback(self, packet_id: int, *codes: int) -> bytes:
        return suback(packet_id, *(min(code, 0x80) for code in codes))

    def unsuback(self, packet_id: int, *_reasons: int) -> bytes:
        return unsuback(packet_id)

    def farewell(self, _reason: int) -> bytes:
        return b""

    def request(self, profile: ProfileView, *, qos: int = 1, packet_id: int = 1, **fields: Any) -> bytes:
        """Return a PUBLISH with a provisioning request."""
        return self.publish(PROVISION_REQUEST, request_body(profile, **fields), qos=qos, packet_id=packet_id)

    def answer(self, body: bytes, *, qos: int = 1, packet_id: int = 1) -> bytes:
        """Return the PUBLISH that answers a provisioning request."""
        return self.publish(PROVISION_RESPONSE, body, qos=qos, packet_id=packet_id)


class New(Old):
    """MQTT 5."""

    publish = staticmethod(publish5)
    subscribe = staticmethod(subscribe5)
    unsubscribe = staticmethod(unsubscribe5)
    explains = True

    def connect(
        self,
        client_id: str | bytes = "client",
        username: str | bytes | None = None,
        *,
        will: tuple[str, bytes] | None = None,
        **options: Any,
    ) -> bytes:
        return connect5(client_id, username, will=will and (b"", *will), **options)

    def accepted(self, *, session_present: bool = False) -> bytes:
        return connack5(0, session_present=session_present)

    def refused(self, _code: int, reason: int, farewell: int | None = None) -> bytes:
        return connack5(reason) + self.farewell(reason if farewell is None else farewell)

    def puback(self, packet_id: int, reason: int = 0) -> bytes:
        return acknowledgement5(0x40, packet_id, reason, b"") if reason else acknowledgement5(0x40, packet_id)

    def suback(self, packet_id: int, *codes: int) -> bytes:
        return suback5(packet_id, *codes)

    def unsuback(self, packet_id: int, *reasons: int) -> bytes:
        return unsuback5(packet_id, *reasons)

    def farewell(self, reason: int) -> bytes:
        return disconnect5(reason, b"") if reason else disconnect5()


VERSIONS = {"3.1.1": Old(), "5": New()}


def request_body(profile: ProfileView, **fields: Any) -> bytes:
    """Return a provisioning request as JSON; a field that is `...` is left out."""
    body = {"provisionDeviceKey": profile.provision_key, "provisionDeviceSecret": profile.provision_secret, **fields}
    return json.dumps({key: value for key, value in body.items() if value is not ...}).encode()


def request(profile: ProfileView, *, qos: int = 1, packet_id: int = 1, **fields: Any) -> bytes:
    """Return a PUBLISH of MQTT 3.1.1 with a provisioning request."""
    return VERSIONS["3.1.1"].request(profile, qos=qos, packet_id=packet_id, **fields)


def new_device(server: RunningServer, name: str = "device", token: str = TOKEN, **profile: str) -> None:
    """Make a device with this token, in a new profile with these fields."""
    made = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device(name, made.name, token=token))

    def update(session: Session) -> None:
        for field, value in profile.items():
            setattr(profiles.by_name(session, made.name), field, value)

    server.query(lambda registry: registry.write(update))


def stored(server: RunningServer, name: str = "device") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the latest telemetry of a device, and its client attributes."""
    device = server.query(lambda registry: registry.device(name))
    return device.telemetry, device.attributes.get("CLIENT_SCOPE", {})


@contextmanager
def device_session(server: RunningServer, version: Old, token: str = TOKEN) -> Iterator[RawClient]:
    """Open a client that is logged in."""
    with RawClient(server.ports.mqtt) as client:
        client.send(version.connect(username=token))
        client.expect(version.accepted())
        yield client


def expect_end(client: RawClient, version: Old, reason: int) -> None:
    """Expect the server to close; with MQTT 5, after a DISCONNECT with the reason."""
    client.expect(version.farewell(reason))
    client.expect_closed()


def expect_silence(client: RawClient, seconds: float = 0.3) -> None:
    """Expect that nothing comes for so long, and the connection stays open."""
    before = client.socket.gettimeout()
    client.socket.settimeout(seconds)
    with pytest.raises(TimeoutError):
        client.read(1)
    client.socket.settimeout(before)


def expect_open(client: RawClient) -> None:
    """Expect the next packet to be the answer to a ping."""
    client.send(PINGREQ)
    client.expect(PINGRESP)


def expect_unharmed(server: RunningServer, *, devices: Sequence[str] = ()) -> None:
    """Expect both transports to serve a good client, with no other devices than these, and no failure."""
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision") + request(server.profile, provisionDeviceSecret="wrong"))
        client.expect(connack(0) + puback(1) + publish(PROVISION_RESPONSE, NOT_FOUND, qos=1))
    with RawClient(server.ports.http) as client:
        client.send(b"POST /api/v1/provision HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        client.expect(b"HTTP/1.1 400 \r\n")
    assert server.device_names() == list(devices)
    assert server.events("failure") == []


def trickle(client: RawClient, data: bytes, pause_s: float = 0.02) -> float:
    """Send byte by byte; return the seconds until the server closed without sending anything."""
    start = time.monotonic()
    client.socket.settimeout(pause_s)
    with suppress(ConnectionError):
        for byte in data:
            client.send(bytes([byte]))
            with suppress(TimeoutError):
                assert client.read(1) == b""
                break
        else:
            pytest.fail("the server took it all")
    return time.monotonic() - start


@contextmanager
def held_back_commits(server: RunningServer) -> Iterator[None]:
    """Prevent commits in the block, as another process that writes does."""
    other = sqlite3.connect(server.data / "registry.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


@contextmanager
def held_back_logins(server: RunningServer) -> Iterator[threading.Event]:
    """Hold back logins, once looked up, until the block ends; yield an event for the first look-up."""
    registry, looked_up, go = server.registry, threading.Event(), threading.Event()
    find = registry._login

    def held(connection: Any, logins: Sequence[Any]) -> Any:
        found = find(connection, logins)
        looked_up.set()
        go.wait(5)
        return found

    registry._login = held  # type: ignore[assignment]
    try:
        yield looked_up
    finally:
        registry._login = find
        go.set()
