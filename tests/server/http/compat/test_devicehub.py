"""Django DeviceHub's way to give a device its credentials."""

import httpx

from tests.support.mqtt_packets import connect
from tests.support.operators import new_device, new_profile, ok, refused
from tests.support.raw_client import RawClient


def path(profile, device):
    return f"/api/things/{profile['name']}/devices/{device['name']}/provision/"


def test_device_of_another_type_is_not_found(shared_operator):
    profile, other = new_profile(shared_operator), new_profile(shared_operator)
    device = new_device(shared_operator, deviceProfileId=profile["id"])
    for wrong in (path(other, device), path(profile, {"name": "none"}), path({"name": "none"}, device)):
        refused(shared_operator.post(wrong), 404, 32)


def test_each_call_replaces_the_credentials(shared_server, shared_operator):
    profile = new_profile(shared_operator)
    device = new_device(shared_operator, deviceProfileId=profile["id"])
    old, new = (ok(shared_operator.post(path(profile, device))) for _ in range(2))
    kind, name = profile["name"], device["name"]
    assert new["device_id"] == name
    assert new["topics"] == {
        "data": f"iot/{kind}/{name}/data",
        "status": f"iot/{kind}/{name}/status",
        "commands": f"iot/{kind}/{name}/cmd",
    }
    assert new["credentials"]["mqtt_username"] == f"{kind}-{name}"
    http = f"http://127.0.0.1:{shared_server.ports.http}/api/v1"
    for answer, code, status in ((old, 5, 401), (new, 0, 200)):
        own = answer["credentials"]
        with RawClient(shared_server.ports.mqtt) as raw:
            raw.send(connect("any", own["mqtt_username"], own["mqtt_password"].encode()))
            assert raw.read(4)[3] in ((4, 5) if code else (0,))
        assert httpx.post(f"{http}/{own['api_key']}/telemetry", json={"t": 1}).status_code == status
    values = ok(shared_operator.get(f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values/timeseries"))
    assert values["t"][0]["value"] == "1"


def test_topics_are_those_of_the_types_template(shared_operator):
    profile = new_profile(shared_operator)
    ok(shared_operator.post(f"/api/template/deviceProfile/{profile['id']['id']}", json={"topics": "hall/{id}"}))
    device = new_device(shared_operator, deviceProfileId=profile["id"])
    answer = ok(shared_operator.post(path(profile, device)))
    assert answer["topics"] == {
        "data": f"hall/{device['name']}/data",
        "status": f"hall/{device['name']}/status",
        "commands": f"hall/{device['name']}/cmd",
    }
