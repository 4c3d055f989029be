"""Reading long payloads: it holds up nobody else."""

import threading
from contextlib import contextmanager

import pytest

from bench.server import device_json
from bench.server.limits import Rules
from bench.server.payloads import QUICKLY_READ
from tests.support.coap_packets import POST, RawPeer
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import PINGREQ, PINGRESP, connack, connect, success
from tests.support.provisioning import over_mqtt
from tests.support.raw_client import RawClient
from tests.support.servers import PATIENCE_S

TOKEN = "a-token-of-its-own"
LONG = b"{" + b"a:1," * QUICKLY_READ + b"a:1}"


@contextmanager
def held_up(monkeypatch, name):
    """Have a reader of long payloads wait until the end of the block; yields an event: it has begun."""
    read, begun, go_on = getattr(device_json, name), threading.Event(), threading.Event()

    def slow(payload, *args):
        if len(payload) > QUICKLY_READ:
            begun.set()
            assert go_on.wait(PATIENCE_S)
        return read(payload, *args)

    monkeypatch.setattr(device_json, name, slow)
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
