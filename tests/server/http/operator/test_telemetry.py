"""Attributes, telemetry and calls of devices, as operators' clients see them."""

import json
import threading
import uuid

import pytest

from bench.registry.clock import now_ms
from bench.server.http.operator import rpc
from tests.support.operators import client, login, name, new_device, ok, refused, values

ABSENT = uuid.UUID(int=1)
JSON = {"Content-Type": "application/json"}
BASE = "/api/plugins/telemetry"


@pytest.fixture
def device(shared_operator):
    """The id of a new device."""
    return new_device(shared_operator)["id"]["id"]


READS = ["keys/attributes", "keys/attributes/SHARED_SCOPE", "values/attributes", "values/attributes/CLIENT_SCOPE"]
READS += ["keys/timeseries", "values/timeseries", "values/timeseries?keys=a&startTs=0&endTs=9"]


@pytest.mark.parametrize("path", READS)
def test_reading_of_what_is_not_there_is_404(shared_operator, path):
    refused(shared_operator.get(f"{BASE}/DEVICE/{ABSENT}/{path}"), 404, 32)
    refused(shared_operator.get(f"{BASE}/DEVICE/no-id/{path}"), 400, 31)
    refused(shared_operator.get(f"{BASE}/ASSET/{ABSENT}/{path}"), 400, 31)


WRITES = [f"{ABSENT}/SHARED_SCOPE", f"DEVICE/{ABSENT}/SHARED_SCOPE", f"DEVICE/{ABSENT}/attributes/SERVER_SCOPE"]
WRITES += [f"DEVICE/{ABSENT}/timeseries/ANY"]


@pytest.mark.parametrize("path", WRITES)
def test_writing_to_what_is_not_there_is_404(shared_operator, path):
    refused(shared_operator.post(f"{BASE}/{path}", json={"a": 1}), 404, 32)


BAD_ATTRIBUTES = [b"", b"{", b"{}", b"[]", b"1", b'"x"', b'{"a":null}', b'{"":1}', b'{" ":1}', b'{"a\\u0000":1}']
BAD_ATTRIBUTES += [b'{"a":"\\u0000"}', b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"%s":1}' % (b"x" * 256)]


@pytest.mark.parametrize("body", BAD_ATTRIBUTES)
def test_attributes_that_are_none_are_400(shared_operator, device, body):
    for path in (f"{device}/SHARED_SCOPE", f"DEVICE/{device}/SERVER_SCOPE"):
        refused(shared_operator.post(f"{BASE}/{path}", content=body, headers=JSON), 400, 31)
    assert ok(shared_operator.get(f"{BASE}/DEVICE/{device}/keys/attributes")) == []


@pytest.mark.parametrize("scope", ["CLIENT_SCOPE", "ANY_SCOPE", "shared_scope"])
def test_attributes_of_another_scope_are_400(shared_operator, device, scope):
    refused(shared_operator.post(f"{BASE}/{device}/{scope}", json={"a": 1}), 400, 31)


@pytest.mark.parametrize("query", ["", "keys=", "keys=,", "keys=%00"])
def test_deletion_of_nothing_is_400(shared_operator, device, query):
    refused(shared_operator.delete(f"{BASE}/DEVICE/{device}/SHARED_SCOPE?{query}"), 400, 31)


EVERY = {"text": "x", "whole": 7, "broken": 1.5, "truth": True, "object": {"a": [1, None]}, "big": 10**30}


@pytest.mark.parametrize("path", ["{}/SHARED_SCOPE", "DEVICE/{}/SHARED_SCOPE", "DEVICE/{}/attributes/SHARED_SCOPE"])
def test_attributes_are_given_back_as_they_were_sent(shared_operator, device, path):
    before = now_ms()
    assert ok(shared_operator.post(f"{BASE}/{path.format(device)}", json={**EVERY, "nothing": None})) is None
    assert values(shared_operator, device, "SHARED_SCOPE") == EVERY
    (entry,) = ok(shared_operator.get(f"{BASE}/DEVICE/{device}/values/attributes?keys=whole"))
    assert entry == {"key": "whole", "value": 7, "lastUpdateTs": entry["lastUpdateTs"]}
    assert before <= entry["lastUpdateTs"] <= now_ms()


def test_attributes_are_distinguished_by_scope_and_key(shared_operator, device):
    for scope in ("SHARED_SCOPE", "SERVER_SCOPE"):
        ok(shared_operator.post(f"{BASE}/{device}/{scope}", json={"scope": scope, "a,b": 1, "%": 2, scope: 3}))
    keys = ok(shared_operator.get(f"{BASE}/DEVICE/{device}/keys/attributes"))
    assert sorted(keys) == ["%", "SERVER_SCOPE", "SHARED_SCOPE", "a,b", "scope"]
    keys = ok(shared_operator.get(f"{BASE}/DEVICE/{device}/keys/attributes/SERVER_SCOPE"))
    assert keys == ["%", "SERVER_SCOPE", "a,b", "scope"]
    assert values(shared_operator, device, "SERVER_SCOPE", keys="scope,nothing") == {"scope": "SERVER_SCOPE"}
    assert values(shared_operator, device, "SERVER_SCOPE", key=["a,b", "%"]) == {"a,b": 1, "%": 2}
    ok(shared_operator.delete(f"{BASE}/{device}/SERVER_SCOPE", params={"keys": "scope", "key": "a,b"}))
    assert values(shared_operator, device, "SERVER_SCOPE") == {"SERVER_SCOPE": 3, "%": 2}
    assert len(values(shared_operator, device, "SHARED_SCOPE")) == 4


def test_operator_can_have_a_device_provisioned_again(shared_server, shared_operator, device):
    ok(shared_operator.post(f"{BASE}/{device}/SERVER_SCOPE", json={"provisionState": "provisioned"}))
    ok(shared_operator.delete(f"{BASE}/DEVICE/{device}/SERVER_SCOPE?keys=provisionState"))
    assert values(shared_operator, device, "SERVER_SCOPE") == {}


def test_listeners_receive_shared_attributes_and_no_others(shared_server, shared_operator, device):
    received = []
    stop = shared_server.api.presence.listen_attributes(uuid.UUID(device), lambda *args: received.append(args))
    ok(shared_operator.post(f"{BASE}/{device}/SERVER_SCOPE", json={"a": 1}))
    ok(shared_operator.post(f"{BASE}/{device}/SHARED_SCOPE", json={"b": 2, "c": None}))
    ok(shared_operator.delete(f"{BASE}/{device}/SERVER_SCOPE?keys=a"))
    ok(shared_operator.delete(f"{BASE}/{device}/SHARED_SCOPE?keys=b,c"))
    ok(shared_operator.delete(f"{BASE}/{device}/SHARED_SCOPE?keys=b"))
    stop()
    assert received == [({"b": 2}, []), ({}, ["b"])]


# Telemetry.


def store(operator, device, body):
    return operator.post(f"{BASE}/DEVICE/{device}/timeseries/ANY", json=body)


def series(operator, device, **query):
    return ok(operator.get(f"{BASE}/DEVICE/{device}/values/timeseries", params=query))


@pytest.mark.parametrize("body", [{}, [], 1, "x", None, [1], {"ts": "x", "values": {}}, {"a": None}, {" ": 1}])
def test_telemetry_that_is_none_is_400(shared_operator, device, body):
    refused(store(shared_operator, device, body), 400, 31)


BAD_QUERIES = ["limit=0", "limit=x", "agg=AVG", "orderBy=UP", "useStrictDataTypes=perhaps", f"startTs={1 << 63}"]


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_telemetry_of_another_kind_is_400(shared_operator, device, query):
    query = {"keys": "a", "startTs": "0", "endTs": "9"} | dict([query.split("=")])
    refused(shared_operator.get(f"{BASE}/DEVICE/{device}/values/timeseries", params=query), 400, 31)


def test_latest_entries(shared_operator, device):
    ok(store(shared_operator, device, [{"ts": 2000, "values": EVERY}, {"ts": 1000, "values": {"whole": 1}}]))
    latest = series(shared_operator, device, useStrictDataTypes="true")
    assert latest == {key: [{"ts": 2000, "value": value}] for key, value in EVERY.items() if key != "big"} | {
        "big": [{"ts": 2000, "value": latest["big"][0]["value"]}]
    }
    texts = {key: entries[0]["value"] for key, entries in series(shared_operator, device).items()}
    assert texts["text"] == "x"
    assert texts["whole"] == "7"
    assert texts["truth"] == "true"
    assert json.loads(texts["object"]) == EVERY["object"]
    assert sorted(ok(shared_operator.get(f"{BASE}/DEVICE/{device}/keys/timeseries"))) == sorted(EVERY)
    one = series(shared_operator, device, keys="whole,absent")
    assert one["whole"] == [{"ts": 2000, "value": "7"}]
    assert [entry["value"] for entry in one["absent"]] == [None]


@pytest.mark.parametrize("path", ["values/timeseries", "values/timeseries/history"])
def test_entries_of_a_time(shared_operator, device, path):
    ok(store(shared_operator, device, [{"ts": ts, "values": {"a": ts, "b": -ts}} for ts in range(1000, 1010)]))

    def found(**query):
        entries = ok(
            shared_operator.get(
                f"{BASE}/DEVICE/{device}/{path}", params={"keys": "a", "startTs": 1002, "endTs": 1006, **query}
            )
        )
        return {key: [entry["ts"] for entry in entries[key]] for key in entries}

    assert found() == {"a": [1005, 1004, 1003, 1002]}
    assert found(orderBy="ASC", limit=2) == {"a": [1002, 1003]}
    assert found(keys="b,absent,a", limit=1) == {"a": [1005], "b": [1005]}
    assert found(startTs=5000, endTs=6000) == {}
    assert found(startTs=1006, endTs=1002) == {}


def test_deleted_entries_are_gone(shared_operator, device):
    path = f"{BASE}/DEVICE/{device}/timeseries/delete"
    ok(store(shared_operator, device, [{"ts": ts, "values": {"a": ts, "b": ts}} for ts in (1, 2, 3)]))
    refused(shared_operator.delete(path), 400, 31)
    refused(shared_operator.delete(f"{path}?keys=a"), 400, 31)
    refused(shared_operator.delete(f"{path}?keys=a&startTs=1"), 400, 31)
    ok(shared_operator.delete(f"{path}?keys=a&startTs=2&endTs=4&rewriteLatestIfDeleted=true"))
    assert series(shared_operator, device, keys="a", startTs=0, endTs=9) == {"a": [{"ts": 1, "value": "1"}]}
    assert series(shared_operator, device)["a"] == [{"ts": 1, "value": "1"}]
    ok(shared_operator.delete(f"{path}?keys=b&deleteAllDataForKeys=true"))
    assert list(series(shared_operator, device)) == ["a"]


def test_what_a_device_reports_is_what_an_operator_sees(shared_server, shared_operator):
    token = name("token")
    device = ok(shared_operator.post(f"/api/device?accessToken={token}", json={"name": name()}))["id"]["id"]
    with client(shared_server) as anonymous:
        ok(anonymous.post(f"/api/v1/{token}/telemetry", json={"ts": 5, "values": {"temperature": 21.5}}))
        ok(anonymous.post(f"/api/v1/{token}/attributes", json={"firmware": "1.0"}))
    assert series(shared_operator, device) == {"temperature": [{"ts": 5, "value": "21.5"}]}
    assert set(values(shared_operator, device, "CLIENT_SCOPE")) == {"firmware"}


# Calls.

CALLS = {
    "/api/rpc/oneway": (504, 504),
    "/api/rpc/twoway": (504, 504),
    "/api/plugins/rpc/oneway": (409, 408),
    "/api/plugins/rpc/twoway": (409, 408),
}
BAD_CALLS = [{}, [], {"method": 1}, {"method": "a", "timeout": "soon"}, {"method": "a", "timeout": -1}]
BAD_CALLS += [{"method": "a", "persistent": True}, {"method": "a\0"}, {"params": {}}, {"method": "a", "timeout": 1e12}]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(rpc, "MIN_TIMEOUT_MS", 50)


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("body", BAD_CALLS, ids=str)
def test_call_that_is_none_is_400(shared_operator, device, path, body):
    refused(shared_operator.post(f"{path}/{device}", json=body), 400, 31)


@pytest.mark.parametrize("path", CALLS)
def test_call_of_nobody_is_404(shared_operator, path):
    refused(shared_operator.post(f"{path}/{ABSENT}", json={"method": "a"}), 404, 32)
    refused(shared_operator.post(f"{path}/no-id", json={"method": "a"}), 400, 31)


@pytest.mark.parametrize("path", CALLS)
def test_call_that_nobody_receives_has_upstreams_status(shared_operator, device, path, impatient):
    answer = shared_operator.post(f"{path}/{device}", json={"method": "a", "timeout": 0})
    assert (answer.status_code, answer.content) == (CALLS[path][0], b"")


@pytest.mark.parametrize("path", [path for path in CALLS if "twoway" in path])
def test_call_that_nobody_answers_has_upstreams_status(shared_server, shared_operator, device, path, impatient):
    stop = shared_server.api.presence.listen_calls(uuid.UUID(device), lambda _: None)
    answer = shared_operator.post(f"{path}/{device}", json={"method": "a", "timeout": 0})
    stop()
    assert (answer.status_code, answer.content) == (CALLS[path][1], b"")


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("params", [{"pin": 7}, [1], "x", None])
def test_call_that_is_answered(shared_server, shared_operator, device, path, params):
    presence, calls, threads = shared_server.api.presence, [], []

    def answer(call):
        calls.append((call.method, call.params))
        loop = shared_server._loop
        threads.append(threading.Thread(target=lambda: loop.call_soon_threadsafe(reply, call.id)))
        threads[-1].start()

    def reply(call_id):
        presence.answer(uuid.UUID(device), call_id, {"done": True})

    stop = presence.listen_calls(uuid.UUID(device), answer)
    answered = shared_operator.post(f"{path}/{device}", json={"method": "setGpio", "params": params})
    stop()
    [thread.join() for thread in threads]
    assert calls == [("setGpio", params)]
    assert ok(answered) == ({"done": True} if "twoway" in path else None)


def test_calls_and_changes_are_in_the_audit_trail(server, monkeypatch):
    monkeypatch.setattr(rpc, "MIN_TIMEOUT_MS", 50)
    with login(server) as operator:
        device = new_device(operator, name="press-4")["id"]["id"]
        ok(operator.post(f"{BASE}/{device}/SHARED_SCOPE", json={"secret-key": "secret-value"}))
        operator.post(f"/api/rpc/oneway/{device}", json={"method": "a", "timeout": 0})
        rows = ok(operator.get("/api/audit/logs?pageSize=10&page=0&textSearch=PRESS"))["data"]
    found = [(row["actionType"], row["actionStatus"], row["entityName"], row["userName"]) for row in rows]
    who = "operator@firstboot.local"
    assert found == [
        ("RPC_CALL", "FAILURE", "press-4", who),
        ("ATTRIBUTES_UPDATED", "SUCCESS", "press-4", who),
        ("ADDED", "SUCCESS", "press-4", who),
    ]
    assert rows[0]["actionFailureDetails"] == "NO_ACTIVE_CONNECTION"
    assert rows[0]["actionData"].keys() == {"entity", "address", "transport", "request"}
    assert "secret" not in json.dumps(rows)
    assert server.wait_for("operator", what="device.added")["request"] == rows[2]["actionData"]["request"]
