"""Reading long payloads: it holds up nobody else."""

import json
import threading
from contextlib import contextmanager

import pytest

from bench.registry import timeseries
from bench.server import device_json
from bench.server.http.operator import telemetry
from bench.server.limits import Rules
from bench.server.payloads import QUICKLY_READ
from tests.support.coap_packets import POST, RawPeer
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import PINGREQ, PINGRESP, connack, connect, success
from tests.support.operators import login, ok
from tests.support.provisioning import over_mqtt
from tests.support.raw_client import RawClient
from tests.support.servers import PATIENCE_S

TOKEN = "a-token-of-its-own"
LONG = b"{" + b"a:1," * QUICKLY_READ + b"a:1}"


@contextmanager
def held_up(monkeypatch, name, *, longer_than=QUICKLY_READ, module=device_json):
    """Have a reader or a writer of what is long wait until the end of the block; yields an event: it has begun."""
    function, begun, go_on = getattr(module, name), threading.Event(), threading.Event()

    def slow(first, *args):
        if len(first) > longer_than:
            begun.set()
            assert go_on.wait(PATIENCE_S)
        return function(first, *args)

    monkeypatch.setattr(module, name, slow)
    try:
        yield begun
    finally:
        go_on.set()


@pytest.fixture
def provisioned(server):
    over_mqtt(server, server.profile, success(TOKEN), deviceName="board", token=TOKEN)
    return server


@pytest.mark.parametrize(
    ("reader", "path", "status"),
    [
        ("read_request", PROVISION, 500),
        ("read_series", f"/api/v1/{TOKEN}/telemetry", 200),
        ("read_attributes", f"/api/v1/{TOKEN}/attributes", 200),
        ("read_claim", f"/api/v1/{TOKEN}/claim", 200),
        ("read_rpc_call", f"/api/v1/{TOKEN}/rpc", 500),
    ],
)
def test_others_are_served_while_a_long_payload_is_read(provisioned, monkeypatch, reader, path, status):
    answers = []
    with held_up(monkeypatch, reader) as begun:
        sender = threading.Thread(target=lambda: answers.append(call(provisioned, path, LONG)[0]))
        sender.start()
        assert begun.wait(PATIENCE_S)
        with RawClient(provisioned.ports.mqtt) as device, RawPeer(provisioned.ports.coap) as peer:
            device.send(connect(username=TOKEN) + PINGREQ)
            device.expect(connack(0) + PINGRESP)
            assert peer.request(POST, f"api/v1/{TOKEN}/telemetry", b"{a:1}").code == 0x41
        assert call(provisioned, f"/api/v1/{TOKEN}/telemetry", b"{a:1}")[0] == 200
        assert answers == []
    sender.join()
    assert answers == [status]


def test_others_are_served_while_a_long_answer_is_written(provisioned, monkeypatch):
    values = {f"key-{number}": number for number in range(400)}
    path, answers = f"/api/v1/{TOKEN}/attributes", []
    assert call(provisioned, path, json.dumps(values).encode())[0] == 200
    with held_up(monkeypatch, "write_attributes", longer_than=300) as begun:
        reader = threading.Thread(target=lambda: answers.append(call(provisioned, path, method="GET")[:2]))
        reader.start()
        assert begun.wait(PATIENCE_S)
        assert call(provisioned, f"{path}?clientKeys=key-7", method="GET")[1] == b'{"client":{"key-7":7}}'
        assert answers == []
    reader.join()
    ((status, body),) = answers
    assert (status, json.loads(body)) == (200, {"client": values})


def test_device_reads_one_thing_at_a_time_and_others_do_not_wait_for_it(provisioned, monkeypatch):
    over_mqtt(provisioned, provisioned.profile, success("other"), deviceName="other", token="other")
    path, read, begun, go_on = "/api/v1/{}/attributes", timeseries.values, [], threading.Event()
    own = provisioned.query(lambda registry: registry.token_login(TOKEN)).id

    def slow(session, device_id, wanted):
        if device_id == own:
            begun.append(device_id)
            assert go_on.wait(PATIENCE_S)
        return read(session, device_id, wanted)

    monkeypatch.setattr(timeseries, "values", slow)
    readers = [threading.Thread(target=call, args=(provisioned, path.format(TOKEN), b"", "GET")) for _ in range(6)]
    for each in readers:
        each.start()
    try:
        for _ in range(20):
            assert call(provisioned, path.format("other"), method="GET")[0] == 200
        assert begun == [own]
    finally:
        go_on.set()
        for each in readers:
            each.join()
    assert begun == [own] * 6


def test_others_are_served_while_a_long_history_is_written(provisioned, monkeypatch):
    entries = [{"ts": 1 + number, "values": {"t": number}} for number in range(2500)]
    assert call(provisioned, f"/api/v1/{TOKEN}/telemetry", json.dumps(entries).encode())[0] == 200
    written = []
    with login(provisioned) as operator:
        (device,) = ok(operator.get("/api/tenant/devices?pageSize=9&page=0"))["data"]
        path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values/timeseries"
        wanted = {"keys": "t", "startTs": 0, "endTs": 9999, "limit": 5000, "useStrictDataTypes": True}
        reader = threading.Thread(target=lambda: written.append(ok(operator.get(path, params=wanted))))
        with held_up(monkeypatch, "_written", longer_than=0, module=telemetry) as begun:
            reader.start()
            assert begun.wait(PATIENCE_S)
            assert call(provisioned, f"/api/v1/{TOKEN}/telemetry", b"{a:1}")[0] == 200
            assert written == []
        reader.join()
    assert written == [{"t": [{"ts": 1 + number, "value": number} for number in reversed(range(2500))]}]


def test_stranger_s_long_payloads_do_not_wait_before_a_device_s(provisioned, monkeypatch):
    with held_up(monkeypatch, "read_request") as begun:
        strangers = [threading.Thread(target=call, args=(provisioned, PROVISION, LONG)) for _ in range(4)]
        for each in strangers:
            each.start()
        assert begun.wait(PATIENCE_S)
        assert call(provisioned, f"/api/v1/{TOKEN}/telemetry", LONG)[0] == 200
    for each in strangers:
        each.join()


@pytest.mark.parametrize("body", [b"{a:1}", b"{provisionDeviceKey:no,provisionDeviceSecret:no}"])
@pytest.mark.parametrize(("size", "read"), [(100, 20), (QUICKLY_READ, 10), (9 * QUICKLY_READ, 2), (1 << 20, 1)])
def test_address_has_fewer_failures_that_are_long(start_server, monkeypatch, body, size, read):
    server = start_server(limits=Rules(per_caller=100, per_address=20))
    payloads = []
    reader = device_json.read_request
    monkeypatch.setattr(device_json, "read_request", lambda payload: payloads.append(payload) or reader(payload))
    statuses = [call(server, PROVISION, body.rjust(size))[0] for _ in range(25)]
    assert statuses[read:] == [429] * (25 - read)
    assert 429 not in statuses[:read]
    assert len(payloads) == read
