"""Bytes that no MQTT client should send: each costs its own connection and nothing else."""

import asyncio
import contextlib
import io
import socket
import time

import pytest

from bench.server.journal import Journal
from bench.server.mqtt.connection import DeviceConnection
from bench.server.run.thread import FREE_PORTS
from bench.server.server import Options, Server
from tests.support.mqtt_packets import (
    NOT_FOUND,
    PINGREQ,
    PINGRESP,
    PROVISION_REQUEST,
    PROVISION_RESPONSE,
    auth5,
    connack,
    connack5,
    connect,
    connect5,
    disconnect5,
    expect_open,
    expect_unharmed,
    packet,
    puback,
    publish,
    publish5,
    request,
    suback,
    subscribe,
    subscribe5,
    text,
    trickle,
    unsubscribe,
    unsubscribe5,
    word,
)
from tests.support.raw_client import RawClient

LIMIT = 65536


KEEP_ALIVE = word(0)


def connect_body(*, level=4, flags=2, rest=KEEP_ALIVE + b"\0\2id"):
    return text("MQTT") + bytes([level, flags]) + rest


# What is wrong before a session, each sent instead of a CONNECT and in front of a good one.

BEFORE_LOGIN = {
    "type 0": b"\x00\x00",
    "type 15": b"\xf0\x00",
    "CONNACK": connack(0),
    "SUBACK": suback(1, 0),
    "UNSUBACK": b"\xb0\x02\x00\x01",
    "PINGRESP": PINGRESP,
    "TLS hello": bytes.fromhex("1603010200010001fc0303"),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "remaining length of five bytes": b"\x10\xff\xff\xff\xff\x01",
    "remaining length of five bytes, all but zero": b"\x10\x80\x80\x80\x80\x00",
    "remaining length beyond the limit": b"\x10\x81\x80\x04",
    "CONNECT of 256 MB": b"\x10\xff\xff\xff\x7f",
    "CONNECT with reserved flags": b"\x11" + connect()[1:],
    "empty CONNECT": packet(0x10, b""),
    "CONNECT without flags": packet(0x10, text("MQTT") + b"\x04"),
    "CONNECT without client id": packet(0x10, connect_body(rest=KEEP_ALIVE)),
    "client id longer than its packet": packet(0x10, connect_body(rest=KEEP_ALIVE + b"\x00\x09id")),
    "bytes behind the client id": packet(0x10, connect_body(rest=KEEP_ALIVE + text("id") + b"\0")),
    "no user name where one is announced": packet(0x10, connect_body(flags=0x82)),
    "no password where one is announced": packet(0x10, connect_body(flags=0x42)),
    "no will where one is announced": packet(0x10, connect_body(flags=0x06)),
    "the reserved flag": connect(extra_flags=0x01),
    "will QoS without a will": connect(extra_flags=0x08),
    "will retain without a will": connect(extra_flags=0x20),
    "will QoS 3": connect(will=("a", b""), extra_flags=0x18),
    "another protocol": connect(protocol="MQTTX"),
    "protocol in lower case": connect(protocol="mqtt"),
    "empty protocol": connect(protocol=""),
    "protocol not in UTF-8": connect(protocol=b"\xff\xff\xff\xff"),
    "client id not in UTF-8": connect(client_id=b"\xc3("),
    "surrogate in the client id": connect(client_id=b"\xed\xa0\x80"),
    "U+0000 in the client id": connect(client_id="a\0b"),
    "user name not in UTF-8": connect(username=b"\xff"),
    "U+0000 in the user name": connect(username="provision\0"),
    "will topic not in UTF-8": connect(will=(b"\xff", b"")),  # type: ignore[arg-type]
    "MQTT 3.1 without client id": connect(client_id="", protocol="MQIsdp", level=3),
    "MQTT 3.1 with 24 characters of client id": connect(client_id="c" * 24, protocol="MQIsdp", level=3),
}


@pytest.mark.parametrize("data", BEFORE_LOGIN.values(), ids=BEFORE_LOGIN)
def test_bad_packet_before_the_login_closes_without_a_word(shared_server, data):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(data + connect(username="provision") + request(shared_server.profile, deviceName="late"))
        client.expect_closed()
    expect_unharmed(shared_server)


@pytest.mark.parametrize(
    ("protocol", "level"),
    [("MQTT", 0), ("MQTT", 3), ("MQTT", 6), ("MQTT", 0x84), ("MQIsdp", 4), ("MQIsdp", 5)],
)
def test_level_that_is_not_spoken_is_refused_with_code_1(shared_server, protocol, level):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(connect(username="provision", protocol=protocol, level=level) + PINGREQ)
        client.expect(connack(1))
        client.expect_closed()
    expect_unharmed(shared_server)


BEFORE_LOGIN_5 = {
    "MQTT 5 as 3.1.1 writes it": packet(0x10, connect_body(level=5)),
    "MQTT 5 with an unknown property": connect5(has=b"\x7f\0"),
    "MQTT 5 with a bad will": connect5(will=(b"\x01\x02", "a", b"")),
    "AUTH": auth5(0x18, b"\x15" + text("method")),
}


@pytest.mark.parametrize("data", BEFORE_LOGIN_5.values(), ids=BEFORE_LOGIN_5)
def test_bad_packet_before_it_is_known_that_it_is_mqtt_5_closes_without_a_word(shared_server, data):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(data + connect5(username="provision") + PINGREQ)
        client.expect_closed()
    expect_unharmed(shared_server)


# What is wrong inside a session.

IN_SESSION = {
    "PUBLISH with QoS 3": publish("a", qos=3),
    "repeated PUBLISH with QoS 0": publish("a", flags=0x08),
    "PUBLISH without topic": packet(0x30, b""),
    "PUBLISH with an empty topic": publish(""),
    "PUBLISH to #": publish("#", qos=1),
    "PUBLISH to a/+": publish("a/+", qos=1),
    "PUBLISH to a topic that is not UTF-8": publish(b"\xff", qos=1),
    "PUBLISH to a topic with U+0000": publish("a\0", qos=1),
    "PUBLISH to a topic with a surrogate": publish(b"\xed\xbf\xbf", qos=1),
    "PUBLISH with packet id 0": publish(PROVISION_REQUEST, b"{}", qos=1, packet_id=0),
    "PUBLISH without packet id": packet(0x32, text("a")),
    "PUBLISH whose topic is longer than it": packet(0x30, b"\xff\xffa"),
    "PUBACK with packet id 0": b"\x40\x02\x00\x00",
    "PUBACK without packet id": b"\x40\x00",
    "PUBACK with more": b"\x40\x03\x00\x01\x00",
    "PUBREL without its flag": b"\x60\x02\x00\x01",
    "SUBSCRIBE without its flag": b"\x80" + subscribe(1, ("a", 0))[1:],
    "SUBSCRIBE with packet id 0": subscribe(0, ("a", 0)),
    "SUBSCRIBE without filters": subscribe(1),
    "SUBSCRIBE without QoS": packet(0x82, word(1) + text("a")),
    "SUBSCRIBE with QoS 3": subscribe(1, ("a", 3)),
    "SUBSCRIBE with a reserved bit in the QoS": subscribe(1, ("a", 0x81)),
    "SUBSCRIBE to nothing": subscribe(1, ("", 0)),
    "SUBSCRIBE to what is not UTF-8": subscribe(1, (b"\xff", 0)),
    "SUBSCRIBE to U+0000": subscribe(1, ("\0", 0)),
    "UNSUBSCRIBE without its flag": b"\xa0" + unsubscribe(1, "a")[1:],
    "UNSUBSCRIBE with packet id 0": unsubscribe(0, "a"),
    "UNSUBSCRIBE without filters": unsubscribe(1),
    "UNSUBSCRIBE from nothing": unsubscribe(1, ""),
    "PINGREQ with a body": b"\xc0\x01\x00",
    "PINGREQ with flags": b"\xc1\x00",
    "DISCONNECT with a body": b"\xe0\x01\x00",
    "CONNACK": connack(0),
    "type 15": b"\xf0\x00",
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "second CONNECT of another protocol": connect(protocol="X"),
    "second CONNECT of another level": connect(level=5),
}


@pytest.mark.parametrize("data", IN_SESSION.values(), ids=IN_SESSION)
def test_bad_packet_in_a_session_closes_after_what_came_before_it(shared_server, data):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(connect(username="provision") + PINGREQ + data + request(shared_server.profile, deviceName="late"))
        client.expect(connack(0) + PINGRESP)
        client.expect_closed()
    expect_unharmed(shared_server)


IN_SESSION_5 = {
    "PUBLISH with QoS 3": (publish5("a", qos=3), 0x81),
    "PUBLISH as MQTT 3.1.1 writes it": (publish(PROVISION_REQUEST, b"{}", qos=1), 0x81),
    "PUBLISH without a topic": (publish5(""), 0x82),
    "PUBLISH with a topic alias": (publish5("", has=b"\x23\0\1"), 0x94),
    "PUBLISH with a subscription id": (publish5("a", has=b"\x0b\1"), 0x82),
    "SUBSCRIBE without filters": (subscribe5(1), 0x82),
    "SUBSCRIBE with reserved options": (subscribe5(1, ("a", 0x40)), 0x81),
    "UNSUBSCRIBE without filters": (unsubscribe5(1), 0x82),
    "DISCONNECT with a server's reason": (disconnect5(0x8E), 0x82),
    "AUTH without a method": (auth5(0x18), 0x82),
    "CONNACK": (connack5(0), 0x81),
    "65,537 bytes": (b"\x30\x81\x80\x04", 0x81),
    "second CONNECT of another protocol": (connect(protocol="X"), 0x81),
    "second CONNECT of level 6": (connect(level=6), 0x84),
}


@pytest.mark.parametrize(("data", "reason"), IN_SESSION_5.values(), ids=IN_SESSION_5)
def test_bad_packet_in_a_session_of_mqtt_5_closes_with_its_reason(shared_server, data, reason):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(connect5(username="provision") + PINGREQ + data + PINGREQ)
        client.expect(connack5(0) + PINGRESP + disconnect5(reason, b""))
        client.expect_closed()
    expect_unharmed(shared_server)


def test_auth_with_all_it_needs_is_ignored(shared_server):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(connect5(username="provision") + auth5(0x18, b"\x15" + text("method")) + PINGREQ)
        client.expect(connack5(0) + PINGRESP)


# Sizes.


@pytest.mark.parametrize("qos", [0, 1])
def test_packet_of_65537_bytes_closes(shared_server, qos):
    overhead = 2 + len(PROVISION_REQUEST) + 2 * bool(qos)
    body = b"{" + b" " * (LIMIT + 1 - overhead - 2) + b"}"
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(connect(username="provision"))
        client.expect(connack(0))
        # The length alone decides: nothing of the body has to arrive.
        client.send(publish(PROVISION_REQUEST, body, qos=qos)[:4])
        client.expect_closed()
    expect_unharmed(shared_server)


def test_packet_of_65536_bytes_is_taken(server):
    body = b'{"provisionDeviceKey":"k","provisionDeviceSecret":"s","x":"%s"}'
    body %= b"x" * (LIMIT - (2 + len(PROVISION_REQUEST) + 2) - len(body) + 2)
    data = publish(PROVISION_REQUEST, body, qos=1)
    assert data[1:4] == b"\x80\x80\x04"
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision") + data)
        client.expect(connack(0) + puback(1) + publish(PROVISION_RESPONSE, NOT_FOUND, qos=1))
        expect_open(client)


def test_subscribe_with_thousands_of_filters_is_answered_filter_by_filter(server):
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision") + subscribe(1, *[("a", 0)] * 10_000))
        client.expect(connack(0) + suback(1, *[0x80] * 10_000))


# Packets cut short, and connections that come to nothing.


def test_packets_in_single_bytes_are_put_together(server):
    data = connect(username="provision") + request(server.profile, provisionDeviceKey="x") + PINGREQ
    with RawClient(server.ports.mqtt) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            client.send(bytes([byte]))
        client.expect(connack(0) + puback(1) + publish(PROVISION_RESPONSE, NOT_FOUND, qos=1) + PINGRESP)


def test_stream_that_ends_inside_a_packet_is_closed_without_a_word(shared_server):
    whole = connect(username="provision") + request(shared_server.profile, deviceName="late")
    answered = len(connect(username="provision"))
    for size in (0, 1, 2, 10, answered - 1, answered + 1, answered + 2, answered + 30, len(whole) - 1):
        with RawClient(shared_server.ports.mqtt) as client:
            client.send(whole[:size])
            client.socket.shutdown(socket.SHUT_WR)
            if size >= answered:
                client.expect(connack(0))
            client.expect_closed()
    expect_unharmed(shared_server)


def test_connections_that_are_reset_harm_nobody(shared_server):
    for data in (b"", b"\x10", connect(username="provision"), connect(username="provision") + b"\x32\x7f"):
        with RawClient(shared_server.ports.mqtt) as client:
            client.send(data)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    expect_unharmed(shared_server)


# Slowness.


def test_connection_that_sends_nothing_is_closed_at_the_deadline(deadline_server):
    with RawClient(deadline_server.ports.mqtt) as client:
        start = time.monotonic()
        client.expect_closed()
        assert time.monotonic() - start > 0.2
    assert len(deadline_server.events("no_login")) == 1
    expect_unharmed(deadline_server)


@pytest.mark.parametrize(
    "data",
    [connect(client_id="c" * 1000, username="provision"), PINGREQ * 100, b"\x10\x80\x80\x04" + bytes(500)],
    ids=["CONNECT", "PINGREQs", "CONNECT of 64 KiB"],
)
def test_connection_that_trickles_is_closed_at_the_deadline(deadline_server, data):
    with RawClient(deadline_server.ports.mqtt) as client:
        assert 0.2 < trickle(client, data) < 2
    expect_unharmed(deadline_server)


def test_session_outlives_the_deadline(deadline_server):
    with RawClient(deadline_server.ports.mqtt) as client:
        client.send(connect(username="provision"))
        client.expect(connack(0))
        with RawClient(deadline_server.ports.mqtt) as later:
            later.expect_closed()
        expect_open(client)


def test_hundred_silent_connections_keep_nobody_waiting(server):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(RawClient(server.ports.mqtt)).send(b"\x10")
        expect_unharmed(server)


def test_hundreds_of_packets_at_once_are_answered_in_order(server):
    requests, answers = [connect(username="provision")], [connack(0)]
    for n in range(1, 501):
        requests += [subscribe(n, ("a", 0)), PINGREQ, puback(n), unsubscribe(n, "a")]
        answers += [suback(n, 0x80), PINGRESP, b"\xb0\x02" + word(n)]
        if n % 100 == 0:
            requests.append(request(server.profile, provisionDeviceKey="x", packet_id=n))
            answers.append(puback(n) + publish(PROVISION_RESPONSE, NOT_FOUND, qos=1, packet_id=n // 100))
    with RawClient(server.ports.mqtt) as client:
        client.send(b"".join(requests))
        client.expect(b"".join(answers))


def test_client_that_never_reads_is_not_read_from_either(tmp_path):
    """Neither the answers for it nor its packets pile up in the server."""

    async def scenario():
        options = Options(data=tmp_path / "data", **FREE_PORTS)
        async with Server(options, Journal(io.StringIO())) as server:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            with client:
                await loop.sock_connect(client, ("127.0.0.1", server.ports.mqtt))
                await loop.sock_sendall(client, connect(username="provision"))
                assert await loop.sock_recv(client, 4) == connack(0)
                (connection,) = server._gateway.connections
                sock = connection._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                sent = unsent = waiting = 0
                with contextlib.suppress(TimeoutError):
                    while sent < 2_000_000:
                        async with asyncio.timeout(2):  # no byte taken for so long: it is not read from any more
                            await loop.sock_sendall(client, PINGREQ * 4000)
                        sent += 8000
                        unsent = max(unsent, connection._transport.get_write_buffer_size())
                        waiting = max(waiting, len(connection._queued or ()))
                assert sent < 2_000_000
                assert unsent < 200_000
                assert waiting < 5_000
                # and it is only this client's own affair
                reader, writer = await asyncio.open_connection("127.0.0.1", server.ports.mqtt)
                writer.write(connect(username="provision") + PINGREQ)
                assert await reader.readexactly(6) == connack(0) + PINGRESP
                writer.close()
                await writer.wait_closed()

    asyncio.run(scenario())


def test_flood_of_pings_leaves_the_others_their_turn(tmp_path, monkeypatch):
    """Others on the server's loop get a turn after every few packets of a connection that never pauses."""
    pings, sent, in_a_row = 20_000, 0, []
    send = DeviceConnection.send

    def count_sent(self, data):
        nonlocal sent
        sent += 1
        send(self, data)

    async def count_turns():
        while True:
            before = sent
            await asyncio.sleep(0)
            in_a_row.append(sent - before)

    async def flood():
        async with Server(Options(data=tmp_path / "data", **FREE_PORTS), Journal(io.StringIO())) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.ports.mqtt)
            writer.write(connect(username="provision"))
            assert await reader.readexactly(4) == connack(0)
            turns = asyncio.create_task(count_turns())
            writer.write(PINGREQ * pings)
            await reader.readexactly(len(PINGRESP) * pings)
            turns.cancel()
            writer.close()

    monkeypatch.setattr(DeviceConnection, "send", count_sent)
    asyncio.run(flood())
    assert sum(in_a_row) >= pings
    assert max(in_a_row) <= 100
