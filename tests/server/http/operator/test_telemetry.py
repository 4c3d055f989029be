"""Attributes, telemetry and calls of devices, as operators' clients see them."""

import asyncio
import json
import threading
import uuid

import pytest

from bench.registry.clock import now_ms
from bench.server.http.operator import attributes, rpc, telemetry
from bench.server.presence import AnswerUnreadable
from tests.support.operators import client, login, name, new_device, ok, plain, refused, set_attributes, values
from tests.support.servers import on_both_databases

ABSENT = uuid.UUID(int=1)
ABSENT_TEXT = "Device with requested id wasn't found!"
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
    plain(shared_operator.get(f"{BASE}/DEVICE/{ABSENT}/{path}"), 404, ABSENT_TEXT)
    refused(shared_operator.get(f"{BASE}/DEVICE/no-id/{path}"), 400, 31, "Invalid UUID string: no-id")
    refused(shared_operator.get(f"{BASE}/ASSET/{ABSENT}/{path}"), 400, 31)


WRITES = [f"{ABSENT}/SHARED_SCOPE", f"DEVICE/{ABSENT}/SHARED_SCOPE", f"DEVICE/{ABSENT}/attributes/SERVER_SCOPE"]
WRITES += [f"DEVICE/{ABSENT}/timeseries/ANY"]


@pytest.mark.parametrize("path", WRITES)
def test_writing_to_what_is_not_there_is_404(shared_operator, path):
    plain(shared_operator.post(f"{BASE}/{path}", json={"a": 1}), 404, ABSENT_TEXT)


NO_OBJECT, NO_DATA = "Request is not a JSON object", "No attributes data found in request body!"
BLANK, MARKUP = "Key cannot be empty or contains only spaces", "Validation error: key is malformed"
BAD_ATTRIBUTES = {b"": NO_OBJECT, b"{}": NO_DATA, b"[]": NO_OBJECT, b"1": NO_OBJECT, b'"x"': NO_OBJECT, b"x": NO_OBJECT}
BAD_ATTRIBUTES |= {b'{"":1}': BLANK, b'{"a":1," ":1}': BLANK, b'{"<b>":1}': MARKUP, b'{"{{a}}":1}': MARKUP}
BAD_ATTRIBUTES |= {b'{"%s":1}' % (b"x" * 256): "Validation error: key length must be equal or less than 255"}
UNREADABLE = [b"{", b'{"a":null}', b'{"a":1,"b":null}', b'{"a":"\\ud800"}', b'{"a":1} x']


@pytest.mark.parametrize("body", BAD_ATTRIBUTES)
def test_attributes_that_are_none_are_400(shared_operator, device, body):
    for path in (f"{device}/SHARED_SCOPE", f"DEVICE/{device}/SERVER_SCOPE"):
        plain(shared_operator.post(f"{BASE}/{path}", content=body, headers=JSON), 400, BAD_ATTRIBUTES[body])
    assert ok(shared_operator.get(f"{BASE}/DEVICE/{device}/keys/attributes")) == []


@pytest.mark.parametrize("body", UNREADABLE)
def test_attributes_that_cannot_be_read_are_500_and_nothing_is_stored(shared_operator, device, body):
    for path in (f"{device}/SHARED_SCOPE", f"DEVICE/{device}/SERVER_SCOPE"):
        refused(shared_operator.post(f"{BASE}/{path}", content=body, headers=JSON), 500, 2)
    assert ok(shared_operator.get(f"{BASE}/DEVICE/{device}/keys/attributes")) == []


NUMBERS = {"007": 7, ".5": 0.5, "-0": 0, "00123456": 123456, "1.10": 1.1, "\u0663": 3}
NUMBERS |= {text: text for text in ("+5", "5.", "1e3", "0x10", " 1", "1,5", "1_000", "Infinity", "9" * 20)}


@pytest.mark.parametrize("text", NUMBERS)
def test_text_that_looks_like_a_number_is_one_as_devices_read_it(shared_server, shared_operator, text):
    token = name("token")
    device = ok(shared_operator.post(f"/api/device?accessToken={token}", json={"name": name()}))["id"]["id"]
    ok(shared_operator.post(f"{BASE}/{device}/SHARED_SCOPE", json={"a": text}))
    ok(store(shared_operator, device, {"a": text}))
    stored = values(shared_operator, device, "SHARED_SCOPE")["a"]
    assert (stored, type(stored)) == (NUMBERS[text], type(NUMBERS[text]))
    assert series(shared_operator, device, useStrictDataTypes="true")["a"][0]["value"] == NUMBERS[text]
    with client(shared_server) as anonymous:
        assert ok(anonymous.get(f"/api/v1/{token}/attributes?sharedKeys=a")) == {"shared": {"a": NUMBERS[text]}}


@pytest.mark.parametrize("body", ["{a:1}", "{'a'=1;}", "{a:1 /* x */}", ")]}'\n{a:1}"])
def test_attributes_and_telemetry_are_read_leniently(shared_operator, device, body):
    if body == "{'a'=1;}":
        body = "{'a'=1}"
    ok(shared_operator.post(f"{BASE}/{device}/SHARED_SCOPE", content=body, headers=JSON))
    ok(
        shared_operator.post(
            f"{BASE}/DEVICE/{device}/timeseries/ANY", content=body, headers={"Content-Type": "text/plain"}
        )
    )
    assert values(shared_operator, device, "SHARED_SCOPE") == {"a": 1}
    assert list(series(shared_operator, device)) == ["a"]


@pytest.mark.parametrize("scope", ["ANY_SCOPE", "shared_scope"])
def test_attributes_of_another_scope_are_400(shared_operator, device, scope):
    refused(shared_operator.post(f"{BASE}/{device}/{scope}", json={"a": 1}), 400, 31)


def test_attributes_of_the_device_s_own_scope_are_400(shared_operator, device):
    message = "Invalid scope: CLIENT_SCOPE"
    plain(shared_operator.post(f"{BASE}/{device}/CLIENT_SCOPE", json={"a": 1}), 400, message)


@pytest.mark.parametrize("query", ["", "keys=", "keys=,"])
def test_deletion_of_nothing_is_400(shared_operator, device, query):
    path = f"{BASE}/DEVICE/{device}/SHARED_SCOPE?{query}"
    plain(shared_operator.delete(path), 400, "Empty keys: no attribute is named")
    refused(shared_operator.delete(f"{path}&key=%00"), 400, 31)


def test_keys_may_be_given_one_by_one(shared_operator, device):
    ok(shared_operator.post(f"{BASE}/{device}/SHARED_SCOPE", json={"a": 1, "b": 2, "c": 3, "d": 4}))
    path = f"{BASE}/DEVICE/{device}/values/attributes/SHARED_SCOPE?keys=a&keys=b,c"
    assert sorted(each["key"] for each in ok(shared_operator.get(path))) == ["a", "b", "c"]


EVERY = {"text": "x", "whole": 7, "broken": 1.5, "truth": True, "object": {"a": [1, {"b": "7"}]}, "big": str(10**30)}


@pytest.mark.parametrize("path", ["{}/SHARED_SCOPE", "DEVICE/{}/SHARED_SCOPE", "DEVICE/{}/attributes/SHARED_SCOPE"])
def test_attributes_are_given_back_as_they_were_sent(shared_operator, device, path):
    before = now_ms()
    assert ok(shared_operator.post(f"{BASE}/{path.format(device)}", json=EVERY)) is None
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
    ok(shared_operator.post(f"{BASE}/{device}/SHARED_SCOPE", json={"b": 2}))
    ok(shared_operator.delete(f"{BASE}/{device}/SERVER_SCOPE?keys=a"))
    ok(shared_operator.delete(f"{BASE}/{device}/SHARED_SCOPE?keys=b,c"))
    ok(shared_operator.delete(f"{BASE}/{device}/SHARED_SCOPE?keys=b"))
    shared_server.call(lambda _api: None)  # listeners are called once the answer has left
    stop()
    assert received == [({"b": 2}, []), ({}, ["b", "c"]), ({}, ["b"])]


# Telemetry.


def store(operator, device, body):
    return operator.post(f"{BASE}/DEVICE/{device}/timeseries/ANY", json=body)


def series(operator, device, **query):
    return ok(operator.get(f"{BASE}/DEVICE/{device}/values/timeseries", params=query))


@pytest.mark.parametrize("body", [{}, [], 1, "x", None, [1], {"ts": "x", "values": {}}, {" ": 1}, {"<b>": 1}])
def test_telemetry_that_is_none_is_400(shared_operator, device, body):
    answer = store(shared_operator, device, body)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (400, "text/plain")


NULLS = [{"a": None}, {"a": 1, "b": None}, [{"a": 1}, {"b": None}], {"ts": 1, "values": {"a": 1, "b": None}}]


@pytest.mark.parametrize("body", NULLS, ids=str)
def test_null_in_telemetry_is_400_and_nothing_is_stored(shared_operator, device, body):
    message = "Unable to parse time series payload. Invalid JSON body: Can't parse value: null"
    plain(store(shared_operator, device, body), 400, message)
    assert series(shared_operator, device) == {}


def test_telemetry_with_a_time_to_live_is_stored(shared_operator, device):
    ok(shared_operator.post(f"{BASE}/DEVICE/{device}/timeseries/ANY/3600", json={"a": 1}))
    refused(shared_operator.post(f"{BASE}/DEVICE/{device}/timeseries/ANY/soon", json={"a": 1}), 400, 31)
    assert list(series(shared_operator, device)) == ["a"]


BAD_QUERIES = [
    "limit=0",
    "limit=x",
    "agg=SOME",
    "interval=-1",
    "intervalType=DAY",
    "orderBy=UP",
    "useStrictDataTypes=perhaps",
    f"startTs={1 << 63}",
]


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_telemetry_of_another_kind_is_400(shared_operator, device, query):
    query = {"keys": "a", "startTs": "0", "endTs": "9"} | dict([query.split("=")])
    refused(shared_operator.get(f"{BASE}/DEVICE/{device}/values/timeseries", params=query), 400, 31)


def test_latest_entries(shared_operator, device):
    ok(store(shared_operator, device, [{"ts": 2000, "values": EVERY}, {"ts": 1000, "values": {"whole": 1}}]))
    latest = series(shared_operator, device, useStrictDataTypes="true")
    assert latest == {key: [{"ts": 2000, "value": value}] for key, value in EVERY.items()}
    texts = {key: entries[0]["value"] for key, entries in series(shared_operator, device).items()}
    assert texts["text"] == "x"
    assert texts["whole"] == "7"
    assert texts["truth"] == "true"
    assert texts["object"] == '{"a":[1,{"b":"7"}]}'
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


AGGREGATED = {
    "COUNT": {"n": [2, 1], "text": [1, 1]},
    "SUM": {"n": [5, 9]},
    "AVG": {"n": [2.5, 9.0]},
    "MIN": {"n": [2, 9], "text": ["a", "b"]},
    "MAX": {"n": [3, 9], "text": ["a", "b"]},
    "NONE": {"n": [9, 3, 2], "text": ["b", "a"]},
}


@on_both_databases
def test_entries_are_summed_up_by_intervals(server_operator):
    device = new_device(server_operator)["id"]["id"]
    rows = [(1000, {"n": 2, "text": "a"}), (1999, {"n": 3}), (4500, {"n": 9, "text": "b"}), (5000, {"n": 100})]
    ok(store(server_operator, device, [{"ts": ts, "values": stored} for ts, stored in rows]))
    query = {"keys": "n,text,absent", "startTs": 1000, "endTs": 5000, "interval": 1500, "useStrictDataTypes": "true"}
    for aggregation, sums in AGGREGATED.items():
        found = series(server_operator, device, agg=aggregation, **query)
        assert {key: [each["value"] for each in entries] for key, entries in found.items()} == sums
    middles = [each["ts"] for each in series(server_operator, device, agg="SUM", **query)["n"]]
    assert middles == [1750, 4500]  # of 1000..2500, and of the rest: 4000..5000
    short = series(server_operator, device, agg="COUNT", **{**query, "interval": 1})["n"]
    assert [each["ts"] for each in short] == [1500, 4500]  # at least a second
    assert len(series(server_operator, device, agg="SUM", **{**query, "interval": 0})["n"]) == 3  # as they are
    ok(store(server_operator, device, {"ts": 1001, "values": {"n": 0.5}}))
    assert series(server_operator, device, agg="SUM", **query)["n"][0]["value"] == 5.5
    assert series(server_operator, device, agg="MIN", **query)["n"][0]["value"] == 0.5


def test_intervals_of_the_calendar_end_with_it(shared_operator, device):
    january, february = 1_704_067_200_000, 1_706_745_600_000  # 2024, in UTC
    ok(store(shared_operator, device, [{"ts": ts, "values": {"n": 1}} for ts in (january, february - 1, february)]))
    query = {"keys": "n", "startTs": january, "endTs": february + 1000, "agg": "SUM", "useStrictDataTypes": "true"}
    for kind, sums in {"MONTH": [2, 1], "QUARTER": [3], "WEEK": [1, 2], "WEEK_ISO": [1, 2]}.items():
        found = series(shared_operator, device, intervalType=kind, **query)["n"]
        assert [each["value"] for each in found] == sums
    west = series(shared_operator, device, intervalType="MONTH", timeZone="America/New_York", **query)["n"]
    assert [each["value"] for each in west] == [1, 2]
    answer = shared_operator.get(
        f"{BASE}/DEVICE/{device}/values/timeseries", params={**query, "intervalType": "MONTH", "timeZone": "Mars"}
    )
    plain(answer, 400, "Unknown time-zone ID")


def test_too_many_intervals_are_400(shared_operator, device):
    query = {"keys": "n", "startTs": 0, "agg": "AVG", "interval": 1000}
    path = f"{BASE}/DEVICE/{device}/values/timeseries"
    ok(shared_operator.get(path, params={**query, "endTs": 700_000}))
    answer = shared_operator.get(path, params={**query, "endTs": 701_000})
    assert (answer.status_code, "701" in answer.text) == (400, True)
    plain_error = shared_operator.get(path, params={**query, "endTs": 1 << 62, "interval": 0, "intervalType": "WEEK"})
    assert plain_error.status_code == 400


def test_text_of_doubles_is_java_s(shared_operator, device):
    ok(store(shared_operator, device, {"small": 1e-7, "large": 1.5e10, "plain": 21.5, "inside": {"a": 1e-7}}))
    found = {key: entries[0]["value"] for key, entries in series(shared_operator, device).items()}
    assert (found["small"], found["plain"], found["inside"]) == ("1.0E-7", "21.5", '{"a":1.0E-7}')


def test_deleted_entries_are_gone(shared_operator, device):
    path = f"{BASE}/DEVICE/{device}/timeseries/delete"
    ok(store(shared_operator, device, [{"ts": ts, "values": {"a": ts, "b": ts}} for ts in (1, 2, 3)]))
    plain(shared_operator.delete(path), 400, "Empty keys: no series is named")
    span = "When deleteAllDataForKeys is false, start and end timestamp values shouldn't be empty"
    plain(shared_operator.delete(f"{path}?keys=a"), 400, span)
    plain(shared_operator.delete(f"{path}?keys=a&startTs=1"), 400, span)
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
# What ThingsBoard fails at, and what it refuses.
BAD_CALLS = {
    "{}": 500,
    "[]": 500,
    '{"params":{}}': 500,
    "{": 400,
    "": 400,
    "{method:'a'}": 400,
    '{"method":"a\\u0000"}': 400,
}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(rpc, "MIN_TIMEOUT_MS", 50)


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("body", BAD_CALLS)
def test_call_that_is_none_is_400_or_500(shared_operator, device, path, body):
    answer = shared_operator.post(f"{path}/{device}", content=body, headers=JSON)
    refused(answer, BAD_CALLS[body], 31 if BAD_CALLS[body] == 400 else 2)


METHODS = [(5, "5"), (None, "null"), (True, "true"), (1.5, "1.5"), ({}, ""), ("a", "a")]


@pytest.mark.parametrize(("method", "called"), METHODS, ids=str)
@pytest.mark.parametrize("timeout", [{}, {"timeout": "abc"}, {"timeout": -1}, {"timeout": None}, {"timeout": 1e300}])
def test_method_is_text_and_any_timeout_goes(shared_server, shared_operator, device, method, called, timeout):
    calls = []
    stop = shared_server.api.presence.listen_calls(uuid.UUID(device), calls.append)
    ok(shared_operator.post(f"/api/rpc/oneway/{device}", json={"method": method, **timeout}))
    stop()
    assert [call.method for call in calls] == [called]


def test_call_that_is_over_already_is_never_delivered(shared_server, shared_operator, device):
    form = {"method": "a", "expirationTime": now_ms() - 1}
    answer = shared_operator.post(f"/api/rpc/oneway/{device}", json=form)
    assert (answer.status_code, answer.content) == (504, b"")


@pytest.mark.parametrize("path", CALLS)
def test_call_of_nobody_is_404(shared_operator, path):
    plain(shared_operator.post(f"{path}/{ABSENT}", json={"method": "a"}), 404, ABSENT_TEXT)
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


@pytest.mark.parametrize("path", [path for path in CALLS if "twoway" in path])
def test_answer_that_is_not_json_is_406_with_nothing(shared_server, shared_operator, device, path):
    presence = shared_server.api.presence

    def answer(call):
        asyncio.get_running_loop().call_soon(presence.answer, uuid.UUID(device), call.id, AnswerUnreadable())

    stop = presence.listen_calls(uuid.UUID(device), answer)
    answered = shared_operator.post(f"{path}/{device}", json={"method": "a"})
    stop()
    assert (answered.status_code, answered.content) == (406, b"")


@pytest.mark.parametrize("path", CALLS)
def test_call_whose_time_is_over_is_never_delivered(shared_server, shared_operator, device, path):
    received = []
    stop = shared_server.api.presence.listen_calls(uuid.UUID(device), received.append)
    for expiration in (0, now_ms() - 1):
        answer = shared_operator.post(f"{path}/{device}", json={"method": "a", "expirationTime": expiration})
        assert (answer.status_code, answer.content) == (CALLS[path][0], b"")
    stop()
    assert received == []


def test_calls_and_changes_are_in_the_audit_trail(server, monkeypatch):
    monkeypatch.setattr(rpc, "MIN_TIMEOUT_MS", 50)
    with login(server) as operator:
        device = new_device(operator, name="press-4")["id"]["id"]
        ok(operator.post(f"{BASE}/{device}/SHARED_SCOPE", json={"secret-key": "secret-value"}))
        operator.post(f"/api/rpc/oneway/{device}", json={"method": "a", "timeout": 0})
        newest = "pageSize=10&page=0&sortProperty=createdTime&sortOrder=DESC"
        rows = ok(operator.get(f"/api/audit/logs?{newest}&textSearch=PRESS"))["data"]
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


def test_long_answers_are_made_beside_the_event_loop(shared_server, shared_operator, device, monkeypatch):
    ok(shared_operator.post(f"/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY", json={"a": 1}))
    set_attributes(shared_operator, device, a=1)
    threads = []
    for module, function in ((telemetry, "as_text"), (attributes, "compact")):
        original = getattr(module, function)

        def recording(*args, original=original):
            threads.append(threading.get_ident())
            return original(*args)

        monkeypatch.setattr(module, function, recording)
    for kind in ("timeseries", "attributes", "attributes/SERVER_SCOPE"):
        ok(shared_operator.get(f"/api/plugins/telemetry/DEVICE/{device}/values/{kind}"))
    assert len(threads) == 3
    assert shared_server.call(lambda _: threading.get_ident()) not in threads
