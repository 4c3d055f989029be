"""Queries for devices by their fields, attributes and telemetry."""

import uuid

import pytest

from tests.support.operators import login, name, new_customer, new_device, ok, refused
from tests.support.servers import on_both_databases

FIND, COUNT = "/api/entitiesQuery/find", "/api/entitiesQuery/count"
NAME = {"type": "ENTITY_FIELD", "key": "name"}
ALL = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}}


def key(kind, key_name):
    return {"type": kind, "key": key_name}


def where(found_key, kind, operation, value, **more):
    predicate = {"type": kind, "operation": operation, "value": {"defaultValue": value}, **more}
    return {"key": found_key, "valueType": kind, "predicate": predicate}


def find(client, wanted=None, *filters, order=None, **link):
    page = {"pageSize": 100, "page": 0, "sortOrder": {"key": order or NAME, "direction": "ASC"}, **link}
    query = {"entityFilter": wanted or ALL["entityFilter"], "keyFilters": list(filters), "entityFields": [NAME]}
    found = ok(client.post(FIND, json={**query, "pageLink": page}))
    count = ok(client.post(COUNT, json={"entityFilter": query["entityFilter"], "keyFilters": list(filters)}))
    if "textSearch" not in link:
        assert count == found["totalElements"]
    return [each["latest"]["ENTITY_FIELD"]["name"]["value"] for each in found["data"]]


BAD = [
    {},
    {"entityFilter": {"type": "relationsQuery"}},
    {"entityFilter": {"type": "entityType", "entityType": "ASSET"}},
    {**ALL, "keyFilters": [where(key("ENTITY_FIELD", "password"), "STRING", "EQUAL", "x")]},
    {**ALL, "keyFilters": [where(NAME, "STRING", "LIKE", "x")]},
    {**ALL, "keyFilters": [where(NAME, "NUMERIC", "EQUAL", "x")]},
]


@pytest.mark.parametrize("query", BAD, ids=str)
def test_query_that_is_none_is_refused(shared_operator, query):
    for path in (FIND, COUNT):
        answer = shared_operator.post(path, json={**query, "pageLink": {"pageSize": 1}})
        assert (answer.status_code, answer.json()["errorCode"]) in {(400, 31), (500, 2)}
    refused(shared_operator.post(FIND, json=ALL), 400, 31)  # without a page


@on_both_databases
def test_devices_are_found_by_what_they_are(server_operator):
    made = {
        each: new_device(server_operator, name=each, type=kind)
        for each, kind in (("press-1", "press"), ("press-2", "press"), ("drill-1", "drill"), ("pr_ss", "drill"))
    }
    ids = {each: device["id"]["id"] for each, device in made.items()}
    assert find(server_operator) == ["drill-1", "pr_ss", "press-1", "press-2"]
    assert find(server_operator, {"type": "singleEntity", "singleEntity": made["drill-1"]["id"]}) == ["drill-1"]
    some = {"type": "entityList", "entityType": "DEVICE", "entityList": [ids["pr_ss"], str(uuid.UUID(int=1))]}
    assert find(server_operator, some) == ["pr_ss"]
    assert find(server_operator, {"type": "entityName", "entityType": "DEVICE", "entityNameFilter": "pr_"}) == ["pr_ss"]
    kinds = {"type": "deviceType", "deviceTypes": ["press"], "deviceNameFilter": ""}
    assert find(server_operator, kinds) == ["press-1", "press-2"]
    assert find(server_operator, {"type": "deviceType", "deviceType": "drill"}) == ["drill-1", "pr_ss"]
    assert find(server_operator, pageSize=1, page=1) == ["pr_ss"]
    assert find(server_operator, textSearch="RESS-") == ["press-1", "press-2"]
    by_age = {"key": key("ENTITY_FIELD", "createdTime"), "direction": "DESC"}
    assert find(server_operator, sortOrder=by_age)[-1] == "press-1"


STRINGS = {
    ("EQUAL", "Ärger"): ["a"], ("NOT_EQUAL", "Ärger"): ["b"], ("STARTS_WITH", "Är"): ["a"], ("ENDS_WITH", "it%"): ["b"],
    ("CONTAINS", "i"): ["b"], ("NOT_CONTAINS", "i"): ["a"], ("IN", "x, wait%"): ["b"], ("NOT_IN", "wait%"): ["a"],
}  # fmt: skip
NUMBERS = {
    ("EQUAL", 7): ["a"], ("NOT_EQUAL", 7): ["b"], ("GREATER", 7): ["b"], ("LESS", 7.5): ["a"],
    ("GREATER_OR_EQUAL", 7): ["a", "b"], ("LESS_OR_EQUAL", 7): ["a"],
}  # fmt: skip


@on_both_databases
def test_devices_are_found_by_their_values(server_operator):
    values = {"a": ("Ärger", 7, True), "b": ("wait%", 7.5, False), "c": None}
    for each, stored in values.items():
        device = new_device(server_operator, name=each)["id"]["id"]
        if stored:
            data = dict(zip(("text", "number", "truth"), stored, strict=True))
            ok(server_operator.post(f"/api/plugins/telemetry/{device}/SERVER_SCOPE", json=data))
            ok(server_operator.post(f"/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY", json=data))
    for kind in ("ATTRIBUTE", "SERVER_ATTRIBUTE", "TIME_SERIES"):
        for (operation, value), found in STRINGS.items():
            assert find(server_operator, None, where(key(kind, "text"), "STRING", operation, value)) == found
        for (operation, value), found in NUMBERS.items():
            assert find(server_operator, None, where(key(kind, "number"), "NUMERIC", operation, value)) == found
        truth = key(kind, "truth")
        assert find(server_operator, None, where(truth, "BOOLEAN", "EQUAL", True)) == ["a"]
        assert find(server_operator, None, where(truth, "BOOLEAN", "NOT_EQUAL", True)) == ["b"]
        assert find(server_operator, order=key(kind, "number"))[-2:] == ["a", "b"] or find(
            server_operator, order=key(kind, "number")
        )[:2] == ["a", "b"]  # where nulls are is the database's
    text = key("ATTRIBUTE", "text")
    assert find(server_operator, None, where(text, "STRING", "STARTS_WITH", "WAIT", ignoreCase=True)) == ["b"]
    assert find(server_operator, None, where(key("SHARED_ATTRIBUTE", "text"), "STRING", "EQUAL", "wait%")) == []
    either = [where(text, "STRING", "EQUAL", each)["predicate"] for each in ("Ärger", "wait%")]
    both = {"key": text, "predicate": {"type": "COMPLEX", "operation": "OR", "predicates": either}}
    assert find(server_operator, None, both) == ["a", "b"]
    assert find(server_operator, None, both, where(key("ATTRIBUTE", "number"), "NUMERIC", "LESS", 7.5)) == ["a"]


def test_found_devices_have_what_was_requested(shared_operator):
    device = new_device(shared_operator, label="left", additionalInfo={"a": 1})
    path = f"/api/plugins/telemetry/{device['id']['id']}"
    ok(shared_operator.post(f"{path}/SERVER_SCOPE", json={"limit": 1}))
    ok(shared_operator.post(f"{path}/SHARED_SCOPE", json={"limit": 2, "object": {"a": [1]}}))
    series = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/timeseries/ANY"
    ok(shared_operator.post(series, json={"ts": 5, "values": {"t": 21.5}}))
    wanted = [
        ("SERVER_ATTRIBUTE", "limit"),
        ("SHARED_ATTRIBUTE", "limit"),
        ("ATTRIBUTE", "object"),
        ("TIME_SERIES", "t"),
    ]
    query = {
        "entityFilter": {"type": "singleEntity", "singleEntity": device["id"]},
        "pageLink": {"pageSize": 1, "page": 0},
        "entityFields": [key("ENTITY_FIELD", each) for each in ("name", "label", "type", "additionalInfo", "nothing")],
        "latestValues": [key(*each) for each in (*wanted, ("TIME_SERIES", "absent"))],
    }
    (found,) = ok(shared_operator.post(FIND, json=query))["data"]
    assert found["entityId"] == device["id"]
    latest = {(kind, each): value["value"] for kind, group in found["latest"].items() for each, value in group.items()}
    assert latest == {
        ("ENTITY_FIELD", "name"): device["name"],
        ("ENTITY_FIELD", "label"): "left",
        ("ENTITY_FIELD", "type"): "default",
        ("ENTITY_FIELD", "additionalInfo"): '{"a":1}',
        ("ENTITY_FIELD", "nothing"): "",
        ("SERVER_ATTRIBUTE", "limit"): "1",
        ("SHARED_ATTRIBUTE", "limit"): "2",
        ("ATTRIBUTE", "object"): '{"a":[1]}',
        ("TIME_SERIES", "t"): "21.5",
        ("TIME_SERIES", "absent"): "",
    }
    assert found["latest"]["TIME_SERIES"]["t"]["ts"] == 5


def test_customers_user_finds_their_own_devices_only(server):
    with login(server) as operator:
        customer, user = new_customer(server, operator)
        new_device(operator, name=name())
        mine = new_device(operator, customerId=customer["id"])
        assert find(user) == [mine["name"]]
        user.close()
