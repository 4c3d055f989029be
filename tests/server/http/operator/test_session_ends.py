"""Every way in which a device gets other credentials, or none, ends the session that it has with the old ones."""

import pytest

from tests.support.mqtt_packets import VERSIONS, device_session, expect_end, expect_open
from tests.support.operators import login, name, new_credentials, ok
from tests.support.raw_client import RawClient

MQTT311 = VERSIONS["3.1.1"]


def set_credentials(operator, device, token):
    ok(operator.post("/api/device/credentials", json=new_credentials(operator, device, credentialsId=token)))


def save_with_credentials(operator, device, token):
    own = new_credentials(operator, device, credentialsId=token)
    ok(operator.post("/api/device-with-credentials", json={"device": device, "credentials": own}))


def load(operator, device, token):
    columns = [{"type": "NAME"}, {"type": "ACCESS_TOKEN"}]
    mapping = {"columns": columns, "delimiter": ",", "header": False, "update": True}
    result = ok(
        operator.post("/api/device/bulk_import", json={"file": f"{device['name']},{token}", "mapping": mapping})
    )
    assert result["updated"] == 1


def rotate(operator, device, token):
    own = ok(operator.get(f"/api/device/{device['id']['id']}/credentials"))["credentialsId"]
    call = {"method": "rotateCredentials", "params": {"credentialsType": "ACCESS_TOKEN", "token": token}}
    answer = ok(operator.post(f"/api/v1/{own}/rpc", json=call))
    assert answer["status"] == "SUCCESS"


def delete(operator, device, _token):
    ok(operator.delete(f"/api/device/{device['id']['id']}"))


@pytest.mark.parametrize("change", [set_credentials, save_with_credentials, load, rotate, delete])
def test_session_with_the_old_credentials_ends_and_none_begins(server, change):
    old, new = name("old"), name("new")
    with login(server) as operator:
        device = ok(operator.post("/api/device", params={"accessToken": old}, json={"name": name("device")}))
        other = name("other")
        ok(operator.post("/api/device", params={"accessToken": other}, json={"name": name("device")}))
        with device_session(server, MQTT311, old) as session, device_session(server, MQTT311, other) as untouched:
            expect_open(session)
            change(operator, device, new)
            expect_end(session, MQTT311, 0x98)
            expect_open(untouched)
    with RawClient(server.ports.mqtt) as late:
        late.send(MQTT311.connect(username=old))
        late.expect(b"\x20\x02\x00\x05")
    if change is not delete:
        with device_session(server, MQTT311, new) as session:
            expect_open(session)
