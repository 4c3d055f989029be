"""The routes of a device's life, and what its device sees of them: refused everywhere, and ordered to wipe itself."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from bench.registry.provision_type import ProvisionType
from tests.support import gateways
from tests.support.coap_packets import GET, OBSERVE, POST, RawPeer, code
from tests.support.http_requests import call, wait_for_listeners
from tests.support.mqtt_packets import FAILURE, VERSIONS, connack, device_session, expect_end, expect_open
from tests.support.operators import client, name, new_device, ok, refused, set_attributes
from tests.support.provisioning import over_http, over_mqtt
from tests.support.raw_client import RawClient

V = VERSIONS["3.1.1"]
RPC = "v1/devices/me/rpc"


def path(device, what=""):
    return f"/api/lifecycle/device/{device['id']['id']}{what}"


@pytest.fixture
def device(shared_operator):
    token = name("token")
    made = ok(shared_operator.post(f"/api/device?accessToken={token}", json={"name": name("device")}))
    return {**made, "token": token}


def change(operator, device, what, **form):
    return ok(operator.post(path(device, what), json=form))


def find(operator, key, value, *fields):
    """Return the devices whose field is equal to a text: their names, and these fields of each."""
    wanted = [{"type": "ENTITY_FIELD", "key": each} for each in ("name", *fields)]
    query = {
        "entityFilter": {"type": "entityType", "entityType": "DEVICE"},
        "keyFilters": [
            {
                "key": {"type": "ENTITY_FIELD", "key": key},
                "predicate": {"type": "STRING", "operation": "EQUAL", "value": {"defaultValue": value}},
            }
        ],
        "pageLink": {"pageSize": 100},
        "entityFields": wanted,
    }
    found = ok(operator.post("/api/entitiesQuery/find", json=query))["data"]
    return {
        each["latest"]["ENTITY_FIELD"]["name"]["value"]: [
            each["latest"]["ENTITY_FIELD"][key]["value"] for key in fields
        ]
        for each in found
    }


def expect_refused(server, token):
    """Every transport but CoAP, which logs in as HTTP does, knows no such token."""
    with RawClient(server.ports.mqtt) as client:
        client.send(V.connect(username=token))
        client.expect(connack(5))
        client.expect_closed()
    assert call(server, f"/api/v1/{token}/telemetry", b'{"a":1}')[0] == 401


def test_routes_are_for_operators(shared_server, shared_operator, device):
    public = ok(shared_operator.post(f"/api/customer/public/device/{device['id']['id']}"))["customerId"]["id"]
    with client(shared_server) as anonymous:
        refused(anonymous.get(path(device)), 401, 10)
        token = ok(anonymous.post("/api/auth/login/public", json={"publicId": public}))["token"]
    with client(shared_server, token) as user:
        assert ok(user.get(path(device)))["access"] == "active"
        for what in ("/serialNumber", "/deactivate", "/activate", "/decommission"):
            refused(user.post(path(device, what), json={"serialNumber": "1"}), 403, 20)
        ok(shared_operator.delete(f"/api/customer/device/{device['id']['id']}"))
        refused(user.get(path(device)), 403, 20)
    absent = {"id": {"id": str(UUID(int=1))}}
    refused(shared_operator.get(path(absent)), 404, 32)
    refused(shared_operator.post(path(absent, "/deactivate")), 404, 32)
    for serial in ("<b>", "{{x}}", "x" * 256):
        refused(shared_operator.post(path(device, "/serialNumber"), json={"serialNumber": serial}), 400, 31)


def test_record_is_found_by_its_fields_and_unseen_by_thingsboards_clients(shared_operator, device):
    other = new_device(shared_operator)
    serial = name("SN")
    for each in (device, other):
        assert change(shared_operator, each, "/serialNumber", serialNumber=serial)["serialNumber"] == serial
    fields = ("serialNumber", "provisioningState", "access", "connectivityStatus")
    expected = {
        device["name"]: [serial, "activated", "active", "provisioning"],
        other["name"]: [serial, "defined", "active", "provisioning"],
    }
    assert find(shared_operator, "serialNumber", serial, *fields) == expected
    found = ok(shared_operator.get(f"/api/tenant/devices?pageSize=9&page=0&textSearch={serial}"))
    assert {each["name"] for each in found["data"]} == set(expected)
    assert serial not in json.dumps(found)
    assert other["name"] in find(shared_operator, "provisioningState", "defined")
    assert other["name"] not in find(shared_operator, "provisioningState", "activated")
    change(shared_operator, device, "/deactivate")
    assert list(find(shared_operator, "access", "deactivated")) == [device["name"]]
    assert list(find(shared_operator, "connectivityStatus", "online")) == []
    assert change(shared_operator, device, "/serialNumber", serialNumber=None)["serialNumber"] is None
    before = {key: device[key] for key in device if key not in ("token", "version")}
    after = ok(shared_operator.get(f"/api/device/{device['id']['id']}"))
    assert {key: value for key, value in after.items() if key != "version"} == before
    assert after["version"] == device["version"] + 3


def test_status_follows_the_session_and_what_the_device_reports(shared_server, shared_operator, device):
    def status():
        shared_server.call(lambda api: api.activity.save())
        return ok(shared_operator.get(path(device)))["connectivityStatus"]

    with device_session(shared_server, V, device["token"]) as client:
        assert status() == "online"
        assert ok(shared_operator.get(path(device)))["provisioningState"] == "provisioned"
        gateways.send(client, V, "v1/devices/me/attributes", {"status": "low_battery"})
        assert status() == "low_battery"
        set_attributes(shared_operator, device["id"]["id"], status="error")  # a server attribute is not its word
        assert status() == "low_battery"
        client.send(b"\xe0\x00")
        client.expect_closed()
    assert status() == "offline"
    assert call(shared_server, f"/api/v1/{device['token']}/attributes", b'{"status":"fine"}')[0] == 200
    assert status() == "online"


def test_deactivation_ends_sessions_at_once_and_refuses_as_unknown(shared_server, shared_operator, device):
    token = device["token"]
    poll = f"/api/v1/{token}/rpc?timeout=30000"
    with (
        device_session(shared_server, VERSIONS["5"], token) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        polled = pool.submit(call, shared_server, poll, method="GET")
        wait_for_listeners(shared_server, UUID(device["id"]["id"]), count=1)
        assert change(shared_operator, device, "/deactivate")["access"] == "deactivated"
        expect_end(client, VERSIONS["5"], 0x98)
        assert polled.result(30)[0] == 408
    expect_refused(shared_server, token)
    assert change(shared_operator, device, "/deactivate")["access"] == "deactivated"
    assert change(shared_operator, device, "/activate")["access"] == "active"
    with device_session(shared_server, V, token) as client:
        expect_open(client)
    rows = ok(shared_operator.get(f"/api/audit/logs/entity/DEVICE/{device['id']['id']}?pageSize=9&page=0"))["data"]
    assert len(rows) >= 3


def test_deactivated_device_behind_a_gateway_loses_its_session(shared_server, shared_operator):
    token = name("gateway")
    gateways.new_gateway(shared_server, token)
    with device_session(shared_server, V, token) as client:
        gateways.send(client, V, gateways.TELEMETRY, {"behind": [{"a": 1}]})
        behind = {"id": {"id": str(gateways.device_id(shared_server, "behind"))}}
        assert ok(shared_operator.get(path(behind)))["provisioningState"] == "provisioned"
        change(shared_operator, behind, "/deactivate")
        gateways.send(client, V, gateways.TELEMETRY, {"behind": [{"b": 2}]})
        expect_open(client)
    stored = shared_server.query(lambda registry: registry.device("behind"))
    assert stored.telemetry == {"a": 1}


def test_deactivated_device_is_not_provisioned(shared_server, shared_operator):
    profile = shared_server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    made = new_device(shared_operator, type=profile.name)
    change(shared_operator, made, "/deactivate")
    over_mqtt(shared_server, profile, FAILURE, deviceName=made["name"])
    over_http(shared_server, profile, FAILURE, deviceName=made["name"])


ANSWERS = [
    (b'{"wiped":"all"}', True),
    (b'{"error":"too soon: every change writes to the flash; wait 9 s"}', False),
    (b'{"error":"unknown method"}', True),
    (b"[]", True),
    (b"{", True),
]


@pytest.mark.parametrize(("answer", "ends"), ANSWERS)
def test_decommissioned_device_is_let_in_for_the_order_to_wipe_itself(
    shared_server, shared_operator, device, answer, ends
):
    token = device["token"]
    with device_session(shared_server, VERSIONS["5"], token) as client:
        found = change(shared_operator, device, "/decommission")
        assert (found["access"], found["wipePending"]) == ("decommissioned", True)
        expect_end(client, VERSIONS["5"], 0x98)
    with device_session(shared_server, V, token) as client:
        gateways.send(client, V, "v1/devices/me/telemetry", {"late": 1})
        client.send(V.subscribe(2, (f"{RPC}/request/+", 1)))
        order = {"method": "factoryReset", "params": {"confirm": device["name"], "wipe": "all"}}
        body = json.dumps(order, separators=(",", ":")).encode()
        client.expect(V.suback(2, 1) + V.publish(f"{RPC}/request/0", body, qos=1, packet_id=1))
        client.send(V.publish(f"{RPC}/response/0", answer, qos=1, packet_id=3))
        client.expect(V.puback(3, 0))
        client.expect_closed()
    assert ok(shared_operator.get(path(device)))["wipePending"] is not ends
    if ends:
        expect_refused(shared_server, token)
    stored = shared_server.query(lambda registry: registry.device(device["name"]))
    assert stored.telemetry == {}
    refused(shared_operator.post(path(device, "/activate")), 400, 31)
    refused(shared_operator.post("/api/device", json={"name": device["name"]}), 400, 31)
    ok(shared_operator.delete(f"/api/device/{device['id']['id']}"))
    expect_refused(shared_server, token)
    refused(shared_operator.post(f"/api/device?accessToken={token}", json={"name": name()}), 400, 31)


ORDER = {"id": 0, "method": "factoryReset"}


def decommissioned(operator, device):
    """Decommission a device, and return the order that it is to get."""
    change(operator, device, "/decommission")
    return {**ORDER, "params": {"confirm": device["name"], "wipe": "all"}}


@pytest.mark.parametrize(("answer", "ends"), ANSWERS)
def test_decommissioned_device_that_polls_over_http_gets_the_order(
    shared_server, shared_operator, device, answer, ends
):
    order, here = decommissioned(shared_operator, device), f"/api/v1/{device['token']}"
    for what in ("telemetry", "attributes"):
        assert call(shared_server, f"{here}/{what}", b'{"late": 1}')[:2] == (200, b"")
    for _ in range(2):  # until it answers
        status, body = call(shared_server, f"{here}/rpc", method="GET")[:2]
        assert (status, json.loads(body)) == (200, order)
    for what, body in (("claim", b"{}"), ("rpc", b'{"method": "getCurrentTime", "params": {}}')):
        assert call(shared_server, f"{here}/{what}", body)[0] == 401
    for what in ("attributes", "attributes/updates", "firmware?title=a&version=1"):
        assert call(shared_server, f"{here}/{what}", method="GET")[0] == 401
    assert call(shared_server, f"{here}/rpc/0", answer)[:2] == (200, b"")
    found = ok(shared_operator.get(path(device)))
    assert (found["wipePending"], found["connectivityStatus"]) == (not ends, "provisioning")  # never online
    assert shared_server.query(lambda registry: registry.device(device["name"])).telemetry == {}
    if ends:
        expect_refused(shared_server, device["token"])
        assert call(shared_server, f"{here}/rpc", method="GET")[0] == 401
        for what, body in (("rpc/0", answer), ("telemetry", b'{"late": 1}')):
            assert call(shared_server, f"{here}/{what}", body)[0] == 401


@pytest.mark.parametrize(("answer", "ends"), ANSWERS)
def test_decommissioned_device_that_observes_over_coap_gets_the_order(
    shared_server, shared_operator, device, answer, ends
):
    order, here = decommissioned(shared_operator, device), f"api/v1/{device['token']}"
    with RawPeer(shared_server.ports.coap) as peer:
        for what in ("telemetry", "attributes"):
            assert peer.request(POST, f"{here}/{what}", b'{"late": 1}').code == code(2.01)
        assert peer.request(GET, f"{here}/attributes").code == code(4.01)
        assert peer.request(GET, f"{here}/attributes", options=[(OBSERVE, b"")]).code == code(4.01)
        assert peer.request(POST, f"{here}/rpc", b'{"method": "getCurrentTime", "params": {}}').code == code(4.01)
    with RawPeer(shared_server.ports.coap) as peer:
        received = [peer.request(GET, f"{here}/rpc", options=[(OBSERVE, b"")], token=b"o")]
        while not received[-1].payload:
            received.append(peer.receive())
        assert json.loads(received[-1].payload) == order
    with RawPeer(shared_server.ports.coap) as peer:
        assert peer.request(POST, f"{here}/rpc/0", answer).code == code(2.01)
        assert ok(shared_operator.get(path(device)))["wipePending"] is not ends
        assert shared_server.query(lambda registry: registry.device(device["name"])).telemetry == {}
        if ends:
            expect_refused(shared_server, device["token"])
            assert peer.request(POST, f"{here}/telemetry", b'{"late": 1}').code == code(4.01)


def test_serial_number_is_a_column_of_imports(shared_operator):
    made, serial = name("device"), name("0042")
    columns = [{"type": "NAME"}, {"type": "SERIAL_NUMBER"}]
    form = {
        "file": f"NAME,SERIAL\n{made},{serial}\n",
        "mapping": {"columns": columns, "delimiter": ",", "update": True},
    }
    assert ok(shared_operator.post("/api/device/bulk_import", json=form))["created"] == 1
    assert list(find(shared_operator, "serialNumber", serial)) == [made]
