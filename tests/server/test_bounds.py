"""Bounds on one device, one request and one operator: bytes, rows and time."""

import contextlib
import json
import threading
import time

import pytest

from bench.errors import NotFound
from bench.registry import device_room, timeseries
from bench.server.http import bodies
from bench.server.http.operator import imports, params
from tests.support import operators
from tests.support.coap_packets import POST, RawPeer, code
from tests.support.http_requests import call, head
from tests.support.mqtt_packets import (
    PINGREQ,
    TELEMETRY,
    TOKEN,
    connack,
    connect,
    new_device,
    puback,
    publish,
)
from tests.support.raw_client import RawClient

ATTRIBUTES = "v1/devices/me/attributes"


# A device's room.


@pytest.fixture
def full(server, monkeypatch):
    """A server with a device that has no room for another key."""
    new_device(server)
    monkeypatch.setattr(device_room, "KEYS", 3)
    for what in ("telemetry", "attributes"):
        assert call(server, f"/api/v1/{TOKEN}/{what}", b'{"a":1,"b":1,"c":1}')[0] == 200
    return server


@pytest.mark.parametrize("what", ["telemetry", "attributes"])
def test_full_device_is_refused_over_http(full, what):
    status, body, _ = call(full, f"/api/v1/{TOKEN}/{what}", b'{"d":1}')
    assert (status, json.loads(body)["errorCode"]) == (413, 33)
    assert "room for 3 keys" in json.loads(body)["message"]
    assert call(full, f"/api/v1/{TOKEN}/{what}", b'{"a":2}')[0] == 200
    assert full.wait_for("device_full", device="device", transport="http")


@pytest.mark.parametrize("what", ["telemetry", "attributes"])
def test_full_device_is_refused_over_coap(full, what):
    with RawPeer(full.ports.coap) as peer:
        assert peer.request(POST, f"api/v1/{TOKEN}/{what}", payload=b'{"d":1}').code == code(4.13)
        assert peer.request(POST, f"api/v1/{TOKEN}/{what}", payload=b'{"a":2}').code == code(2.01)


@pytest.mark.parametrize("topic", [TELEMETRY, ATTRIBUTES])
def test_full_device_is_closed_over_mqtt(full, topic):
    with RawClient(full.ports.mqtt) as client:
        client.send(connect(username=TOKEN) + publish(topic, b'{"a":2}', qos=1, packet_id=1))
        client.expect(connack(0) + puback(1))
        client.send(publish(topic, b'{"d":1}', qos=1, packet_id=2) + PINGREQ)
        client.expect_closed()


def test_operator_cannot_fill_a_device_beyond_its_room(full):
    with operators.login(full) as operator:
        device = operators.ok(operator.get("/api/tenant/device", params={"deviceName": "device"}))
        path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}"
        for where in ("SHARED_SCOPE", "timeseries/any"):
            answer = operator.post(f"{path}/{where}", json={"d": 1})
            assert (answer.status_code, "room for 3 keys" in answer.text) == (400, True)


def test_device_with_many_keys_is_in_nobodys_way(server):
    """One key of many is read alone, and logins do not wait behind reads."""
    new_device(server)
    new_device(server, "other", "token-of-other")
    for part in range(9):
        body = json.dumps({f"key-{part}-{n}": n for n in range(1000)}).encode()
        assert call(server, f"/api/v1/{TOKEN}/attributes", body)[0] == 200
    stop = threading.Event()

    def read_one():
        while not stop.is_set():
            call(server, f"/api/v1/{TOKEN}/attributes?clientKeys=key-1-1", method="GET")

    readers = [threading.Thread(target=read_one) for _ in range(6)]
    for each in readers:
        each.start()
    waits = []
    for _ in range(20):
        start = time.monotonic()
        with RawClient(server.ports.mqtt) as client:
            client.send(connect(username="token-of-other"))
            client.expect(connack(0))
        waits.append(time.monotonic() - start)
    stop.set()
    for each in readers:
        each.join()
    assert sorted(waits)[10] < 0.5  # it took 6 s


def test_logins_do_not_wait_for_reads(server):
    new_device(server)
    begun, go_on = threading.Barrier(5), threading.Event()

    def read(_session):
        begun.wait(20)
        go_on.wait(20)

    reads = [server.submit(lambda api: api.registry.read(read)) for _ in range(4)]
    begun.wait(20)
    try:
        assert call(server, f"/api/v1/{TOKEN}/telemetry", b'{"a":1}')[0] == 200
    finally:
        go_on.set()
    for each in reads:
        each.result(20)


# Requests.


def test_bodies_of_one_address_have_a_bound(server, monkeypatch):
    monkeypatch.setattr(bodies, "ADDRESS", 100_000)
    new_device(server)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(RawClient(server.ports.http)) for _ in range(2)]
        for client in waiting:
            client.send(head(f"/api/v1/{TOKEN}/telemetry", "Content-Length: 60000") + b"x" * 49_000)
        deadline = time.monotonic() + 20
        while (status := call(server, f"/api/v1/{TOKEN}/telemetry", b'{"a":"' + b"x" * 30_000 + b'"}')[0]) == 200:
            assert time.monotonic() < deadline
        assert status == 503
        assert call(server, "/healthz", method="GET")[0] == 200
    while call(server, f"/api/v1/{TOKEN}/telemetry", b'{"a":"' + b"x" * 30_000 + b'"}')[0] != 200:
        assert time.monotonic() < deadline


# Operators.


def test_page_has_a_bound(shared_operator):
    operators.ok(shared_operator.get("/api/tenant/devices", params={"pageSize": params.PAGE_LIMIT, "page": 0}))
    too_many = {"pageSize": params.PAGE_LIMIT + 1, "page": 0}
    operators.refused(shared_operator.get("/api/tenant/devices", params=too_many), 400, 31)


@pytest.mark.parametrize(("bound", "number"), [("ENTRIES", 10), ("ENTRIES_SIZE", 50)])
def test_history_of_one_answer_has_a_bound(server, monkeypatch, bound, number):
    new_device(server)
    entries = [{"ts": n, "values": {"a": "x" * 10, "b": 1}} for n in range(8)]
    assert call(server, f"/api/v1/{TOKEN}/telemetry", json.dumps(entries).encode())[0] == 200
    monkeypatch.setattr(timeseries, bound, number)
    with operators.login(server) as operator:
        device = operators.ok(operator.get("/api/tenant/device", params={"deviceName": "device"}))
        path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values/timeseries"
        span = {"startTs": 0, "endTs": 100}
        answer = operator.get(path, params={**span, "keys": "a,b", "limit": 100})
        assert (answer.status_code, "ask for less time" in answer.text) == (400, True)
        assert len(operators.ok(operator.get(path, params={**span, "keys": "a", "limit": 3}))["a"]) == 3


def test_import_has_a_bound(shared_operator, monkeypatch):
    monkeypatch.setattr(imports, "LINES", 3)
    form = {
        "file": "a\n" * 4,
        "mapping": {"columns": [{"type": "NAME"}], "delimiter": ",", "header": False, "update": False},
    }
    answer = shared_operator.post("/api/device/bulk_import", json=form)
    assert (answer.status_code, "at most 3 lines: split it" in answer.text) == (400, True)


def test_import_ends_when_its_client_leaves(server):
    with operators.login(server) as operator:
        token = operator.headers["X-Authorization"]
    file = "".join(f"imported-{n}\n" for n in range(20_000))
    body = json.dumps(
        {"file": file, "mapping": {"columns": [{"type": "NAME"}], "delimiter": ",", "header": False, "update": False}}
    ).encode()
    sent = head("/api/device/bulk_import", f"X-Authorization: {token}", f"Content-Length: {len(body)}") + body
    with RawClient(server.ports.http) as client:
        client.send(sent.replace(b"Host: x\r\n", b"Host: x\r\nContent-Type: application/json\r\n", 1))
        deadline = time.monotonic() + 20
        while not _exists(server, "imported-0"):
            assert time.monotonic() < deadline
    stopped = server.wait_for("import_stopped")
    assert stopped["line"] < 20_000
    assert not _exists(server, f"imported-{stopped['line'] + 1}")


def _exists(server, name):
    with contextlib.suppress(NotFound):
        return server.query(lambda registry: registry.device(name))
    return None
