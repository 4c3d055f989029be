"""WebSockets of clients that want too much, or read nothing."""

import contextlib
import json
import socket
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed

from bench.server.http import websocket_connection
from bench.server.http.operator import sockets
from bench.server.http.operator.live import outbox, session
from bench.server.limits import Rules
from tests.support.http_requests import PROVISION, call, head, read_response
from tests.support.mqtt_packets import request_body
from tests.support.operators import login, name, new_device, ok
from tests.support.raw_client import RawClient
from tests.support.websockets import LiveClient, command, live, token_of, wait_for_none

KEY = f"Sec-WebSocket-Key: {'A' * 22}=="
HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY)


def series(device, **fields):
    return {"type": "TIMESERIES", "entity_type": "DEVICE", "entity_id": device, "cmd_id": 1, **fields}


def store(operator, device, **stored):
    ok(operator.post(f"/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY", json=stored))


def frame(opcode, payload=b"", *, fin=True):
    """Return a client's frame, masked with zeros (RFC 6455, 5.2)."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 * fin | opcode]) + length + bytes(4) + payload


@contextlib.contextmanager
def raw(server, *, receive_buffer=None):
    """Yield a TCP connection that has become a WebSocket."""
    with RawClient(server.ports.http) as client:
        if receive_buffer:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.send(head("/api/ws", *HANDSHAKE, method="GET"))
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += client.read(1)
        assert received.startswith(b"HTTP/1.1 101 ")
        yield client


def log_in(client, user):
    client.send(frame(1, json.dumps({"authCmd": {"cmdId": 0, "token": token_of(user)}}).encode()))


def expect_cut_off(client):
    with contextlib.suppress(ConnectionError):
        while client.socket.recv(1 << 16):
            pass


def expect_unharmed(server, operator):
    device = new_device(operator)["id"]["id"]
    with live(server, operator) as client:
        assert client.request(**series(device))["data"] == {}


# Hostile messages.


@pytest.mark.parametrize("first", [True, False])
def test_binary_message_closes(shared_server, shared_operator, first):
    with LiveClient(shared_server) as client:
        if not first:
            client.send({"authCmd": {"cmdId": 0, "token": token_of(shared_operator)}})
        client.socket.send(b"\0\1")
        client.expect_closed(1003)


@pytest.mark.parametrize("first", [True, False])
def test_message_of_10_mb_closes(shared_server, shared_operator, first):
    with LiveClient(shared_server) as client:
        if not first:
            client.send({"authCmd": {"cmdId": 0, "token": token_of(shared_operator)}})
        with contextlib.suppress(ConnectionClosed):
            client.socket.send("x" * 10_000_000)
        client.expect_closed(1009)
    expect_unharmed(shared_server, shared_operator)


def test_message_of_10_mb_in_small_parts_closes(shared_server):
    with LiveClient(shared_server) as client:
        with contextlib.suppress(ConnectionClosed):
            client.socket.send("x" * 1000 for _ in range(10_000))
        client.expect_closed(1009)


def test_fragments_without_content_are_cut_off(shared_server, shared_operator):
    with raw(shared_server) as client:
        with contextlib.suppress(ConnectionError):
            client.send(frame(1, fin=False) + frame(0, fin=False) * 200_000)
        expect_cut_off(client)
    expect_unharmed(shared_server, shared_operator)


def test_text_that_is_no_utf8_and_unmasked_frames_close(shared_server, shared_operator):
    for data in (frame(1, b"\xff"), b"\x81\x01x", frame(3), frame(9, b"x" * 126)):
        with raw(shared_server) as client:
            client.send(data)
            expect_cut_off(client)
    expect_unharmed(shared_server, shared_operator)


def test_messages_that_nobody_handles_yet_are_bounded(shared_server, shared_operator, monkeypatch):
    monkeypatch.setattr(websocket_connection, "_MESSAGES", 10)
    with raw(shared_server) as client:
        log_in(client, shared_operator)
        with contextlib.suppress(ConnectionError):
            client.send(frame(1, b"{}") * 30_000)
            expect_cut_off(client)
    expect_unharmed(shared_server, shared_operator)


def test_pings_whose_answers_nobody_reads_are_cut_off(shared_server, shared_operator):
    ping = frame(9, b"x" * 125) * 1000
    with raw(shared_server, receive_buffer=4096) as client, contextlib.suppress(ConnectionError):
        for _ in range(1000):  # 130 MB
            client.send(ping)
        pytest.fail("the server takes pings without end")
    expect_unharmed(shared_server, shared_operator)


BAD_HANDSHAKES = {
    "no key": HANDSHAKE[:3],
    "malformed key": (*HANDSHAKE[:3], "Sec-WebSocket-Key: x"),
    "another version": (*HANDSHAKE[:2], "Sec-WebSocket-Version: 12", HANDSHAKE[3]),
    "too many fields": (*HANDSHAKE, *(f"X-{n}: x" for n in range(200))),
    "a long field": (*HANDSHAKE, "X: " + "x" * 9000),
    "no ASCII": (*HANDSHAKE, "X: \xe9"),
}


@pytest.mark.parametrize("fields", BAD_HANDSHAKES.values(), ids=BAD_HANDSHAKES)
def test_handshake_that_is_odd_harms_nobody(shared_server, shared_operator, fields):
    before = len(shared_server.events("failure"))
    with RawClient(shared_server.ports.http) as client:
        client.send("\r\n".join(["GET /api/ws HTTP/1.1", "Host: x", *fields, "", ""]).encode("latin-1"))
        if "\xe9" not in fields[-1]:
            expect_cut_off(client)
    expect_unharmed(shared_server, shared_operator)
    assert len(shared_server.events("failure")) == before


def test_upgrade_elsewhere_is_a_plain_request(shared_server):
    for path, status in ((PROVISION, 405), ("/api/wsx", 404)):
        with RawClient(shared_server.ports.http) as client:
            client.send(head(path, *HANDSHAKE, method="GET"))
            assert read_response(client)[0] == status


def test_upgrade_after_a_request_on_the_same_connection(shared_server, shared_operator):
    with RawClient(shared_server.ports.http) as client:
        client.send(head(PROVISION, "Content-Length: 0"))
        assert read_response(client)[0] == 400
        client.send(head("/api/ws", *HANDSHAKE, method="GET"))
        assert client.read(13) == b"HTTP/1.1 101 "
    expect_unharmed(shared_server, shared_operator)


# How many.


@pytest.mark.parametrize("bound", ["ALL", "USER", "ADDRESS"])
def test_socket_beyond_the_bound_is_closed(start_server, monkeypatch, bound):
    monkeypatch.setattr(sockets, bound, 2)
    server = start_server(limits=Rules())
    server_operator = login(server)
    with (
        contextlib.closing(server_operator),
        live(server, server_operator) as first,
        live(server, server_operator) as second,
    ):
        device = new_device(server_operator)["id"]["id"]
        for client in (first, second):
            assert client.request(**series(device))["errorCode"] == 0
        with live(server, server_operator) as third:
            third.expect_closed(1008, "Max sessions limit reached!")
        server.wait_for("too_many_websockets")
        with login(server) as other, live(server, other) as fourth:  # another session of the same user
            fourth.expect_closed(1008)
        for client in (first, second):
            client.socket.close()
        wait_for_none(server_operator)
        expect_unharmed(server, server_operator)


def test_subscription_beyond_the_bound_closes(shared_server, shared_operator, monkeypatch):
    monkeypatch.setattr(session, "SUBSCRIPTIONS", 2)
    device = new_device(shared_operator)["id"]["id"]
    with live(shared_server, shared_operator) as client:
        for cmd_id in (1, 2, 2, 1):
            assert client.request(**series(device, cmd_id=cmd_id))["errorCode"] == 0
        client.command(**series(device, cmd_id=3))
        client.expect_closed(1008)


def test_values_beyond_the_bound_are_an_error(shared_server, shared_operator, monkeypatch):
    monkeypatch.setattr("bench.server.http.operator.live.client.VALUES", 3)
    device = new_device(shared_operator)["id"]["id"]
    with live(shared_server, shared_operator) as client:
        assert client.request(**series(device, keys="a,b"))["errorCode"] == 0
        assert client.request(**series(device, keys="a,b", cmd_id=2))["errorCode"] == 2
        assert client.request(**series(device, keys="a,b,c"))["errorCode"] == 0


def test_device_that_too_many_follow_is_an_error(shared_server, shared_operator, monkeypatch):
    monkeypatch.setattr("bench.server.http.operator.live.client.LISTENERS", 2)
    device = new_device(shared_operator)["id"]["id"]
    with live(shared_server, shared_operator) as first, live(shared_server, shared_operator) as second:
        assert first.request(**series(device))["errorCode"] == 0
        assert second.request(**series(device))["errorCode"] == 0
        assert second.request(**series(device, cmd_id=2))["errorMsg"] == "Too many follow this device!"
        assert second.request(**series(device))["errorCode"] == 0  # instead of the one before


def test_answer_beyond_the_bound_is_an_error(shared_server, shared_operator, monkeypatch):
    monkeypatch.setattr(session, "ANSWER_LIMIT", 1000)
    device = new_device(shared_operator)["id"]["id"]
    store(shared_operator, device, a="x" * 1000, b=1)
    with live(shared_server, shared_operator) as client:
        assert client.request(**series(device))["errorCode"] == 2
        assert client.request(**series(device, keys="b"))["errorCode"] == 0


# Slow readers.


def test_slow_reader_is_closed_and_counted_and_holds_up_nobody(server, server_operator, monkeypatch):
    monkeypatch.setattr(outbox, "SIZE_LIMIT", 1 << 18)
    token = name("token")
    device = ok(server_operator.post(f"/api/device?accessToken={token}", json={"name": name("device")}))["id"]["id"]
    body = json.dumps({"a": "x" * 50_000}).encode()
    with raw(server, receive_buffer=4096) as slow, live(server, server_operator) as quick:
        log_in(slow, server_operator)
        slow.send(frame(1, json.dumps({"cmds": [command(**series(device))]}).encode()))
        assert quick.request(**series(device, keys="b"))["errorCode"] == 0
        while server.call(lambda api: len(next(iter(api.registry.changes._by_device.values())))) < 2:
            pass
        longest, number = 0.0, 0
        while not server.events("websocket_slow"):
            begin = time.monotonic()
            assert call(server, f"/api/v1/{token}/telemetry", body)[0] == 200
            made = request_body(server.profile, deviceName=name("made"))
            assert json.loads(call(server, PROVISION, made)[1])["status"] == "SUCCESS"
            longest, number = max(longest, time.monotonic() - begin), number + 1
            assert number < 2000
        assert longest < 2
        assert call(server, f"/api/v1/{token}/telemetry", b'{"b":1}')[0] == 200
        assert list(quick.read()["data"]) == ["b"]
        assert "firstboot_websockets_slow_total 1.0" in server_operator.get("/metrics").text
        assert server.call(lambda api: len(next(iter(api.registry.changes._by_device.values())))) in {1, 2}


def test_one_large_update_is_not_what_makes_a_reader_slow(shared_server, shared_operator, monkeypatch):
    monkeypatch.setattr(outbox, "SIZE_LIMIT", 1000)
    device = new_device(shared_operator)["id"]["id"]
    with live(shared_server, shared_operator) as client:
        assert client.request(**series(device))["errorCode"] == 0
        store(shared_operator, device, a="x" * 100_000)
        assert len(client.read()["data"]["a"][0][1]) == 100_000


def test_silent_client_is_pinged_and_one_that_does_not_answer_is_closed(start_server, monkeypatch):
    monkeypatch.setattr(websocket_connection, "PING_S", 0.05)
    monkeypatch.setattr(websocket_connection, "PONG_S", 0.1)
    server = start_server()
    with login(server) as operator:
        device = new_device(operator)["id"]["id"]
        with raw(server) as silent, live(server, operator) as answering:
            log_in(silent, operator)
            assert silent.read(2)[:1] == b"\x89"
            expect_cut_off(silent)
            time.sleep(0.3)  # several pings
            assert answering.request(**series(device))["errorCode"] == 0


# The end of the server.


def test_server_ends_with_open_sockets(start_server):
    server = start_server()
    with login(server) as operator, contextlib.ExitStack() as stack:
        device = new_device(operator)["id"]["id"]
        clients = [stack.enter_context(live(server, operator)) for _ in range(3)]
        for client in clients:
            assert client.request(**series(device))["errorCode"] == 0
        stranger = stack.enter_context(raw(server))
        slow = stack.enter_context(raw(server, receive_buffer=4096))
        log_in(slow, operator)
        slow.send(frame(1, json.dumps({"cmds": [command(**series(device))]}).encode()))
        for _ in range(5):
            store(operator, device, a="x" * 1_000_000)
        begin = time.monotonic()
        ending = threading.Thread(target=server.stop)
        ending.start()
        for client in clients:
            client.expect_closed(1012)
        expect_cut_off(stranger)
        ending.join()
        assert time.monotonic() - begin < 5
