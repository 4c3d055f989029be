"""ThingsBoard's API over WebSockets: devices that a query finds, and their number."""

import pytest

from bench.server.http.operator.live import session
from tests.support.operators import name, new_device, ok, set_attributes
from tests.support.servers import on_both_databases
from tests.support.websockets import live

NAME = {"type": "ENTITY_FIELD", "key": "name"}


def key(kind, key_name):
    return {"type": kind, "key": key_name}


def query(*device_ids, **more):
    wanted = {"type": "entityList", "entityType": "DEVICE", "entityList": list(device_ids)}
    link = {"pageSize": 10, "page": 0, "sortOrder": {"key": NAME, "direction": "ASC"}, **more.pop("link", {})}
    return {"entityFilter": wanted, "pageLink": link, "entityFields": [NAME], **more}


def store(operator, device, ts, **stored):
    body = {"ts": ts, "values": stored}
    ok(operator.post(f"/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY", json=body))


def update(device, latest=None, timeseries=None, *, command=1):
    entity = {"entityId": {"entityType": "DEVICE", "id": device}, "latest": latest, "timeseries": timeseries}
    return {
        "cmdId": command,
        "data": None,
        "update": [{**entity, "aggLatest": None}],
        "errorCode": 0,
        "errorMsg": None,
        "allowedEntities": 1000,
        "cmdUpdateType": "ENTITY_DATA",
    }


def point(ts, value):
    return {"ts": ts, "value": value}


@pytest.fixture
def devices(shared_operator):
    """The ids of two devices, in the order of their names."""
    return [new_device(shared_operator, name=name(each))["id"]["id"] for each in "ab"]


def test_devices_come_as_a_page_and_then_their_changes(shared_operator, socket, devices):
    first, second = devices
    store(shared_operator, first, 5, a=1)
    wanted = {"latestCmd": {"keys": [key("TIME_SERIES", "a"), key("SERVER_ATTRIBUTE", "s"), key("ATTRIBUTE", "any")]}}
    answer = socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices), **wanted)
    page = answer["data"]
    assert answer == {**update(""), "data": page, "update": None}
    assert (page["totalElements"], page["totalPages"], page["hasNext"]) == (2, 1, False)
    assert [each["entityId"]["id"] for each in page["data"]] == devices
    assert page["data"][0]["latest"]["TIME_SERIES"] == {"a": point(5, "1")}
    assert page["data"][1]["latest"]["SERVER_ATTRIBUTE"] == {"s": point(0, "")}

    store(shared_operator, second, 7, a=2, other=3)
    assert socket.read() == update(second, {"TIME_SERIES": {"a": point(7, "2")}})
    store(shared_operator, first, 4, a=0)  # older than what is known
    store(shared_operator, first, 5, a=1)  # the same
    store(shared_operator, first, 6, a=1)
    assert socket.read() == update(first, {"TIME_SERIES": {"a": point(6, "1")}})
    set_attributes(shared_operator, first, s="x", none=1)
    assert socket.read()["update"][0]["latest"]["SERVER_ATTRIBUTE"]["s"]["value"] == "x"
    set_attributes(shared_operator, first, "SHARED_SCOPE", any=True)
    assert socket.read()["update"][0]["latest"]["ATTRIBUTE"]["any"]["value"] == "true"
    ok(shared_operator.delete(f"/api/plugins/telemetry/{first}/SERVER_SCOPE", params={"keys": "s"}))
    assert socket.read() == update(first, {"SERVER_ATTRIBUTE": {"s": point(0, "")}})


def test_history_comes_with_the_page(shared_operator, socket, devices):
    for ts in (1000, 2000, 3000):
        store(shared_operator, devices[0], ts, a=ts)
    part = {"keys": ["a", "b"], "startTs": 1000, "endTs": 3000}
    page = socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices), history_cmd=part)["data"]
    assert [each["timeseries"] for each in page["data"]] == [
        {"a": [point(2000, "2000"), point(1000, "1000")], "b": []},
        {"a": [], "b": []},
    ]
    part |= {"agg": "SUM", "interval": 2000}
    page = socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices), history_cmd=part)["data"]
    assert page["data"][0]["timeseries"]["a"] == [point(2000, "3000")]
    store(shared_operator, devices[0], 9000, a=1)
    assert socket.request(type="ENTITY_COUNT", cmd_id=2, query=count_query(devices))["count"] == 2  # nothing else came


def test_sums_of_a_time_come_with_those_of_another(shared_operator, socket, devices):
    for ts in (1000, 2000, 3000, 11_000):
        store(shared_operator, devices[0], ts, a=ts)
    keys = [
        {"id": 1, "key": "a", "agg": "SUM", "previousStartTs": 1000, "previousEndTs": 5000},
        {"id": 2, "key": "a", "agg": "MAX"},
        {"id": 3, "key": "a", "agg": "NONE", "previousStartTs": 1000, "previousEndTs": 5000, "previousValueOnly": True},
        {"id": 4, "key": "none", "agg": "AVG", "previousValueOnly": True},
        {"id": 5, "key": "none", "agg": "COUNT"},
        {"id": 6, "key": "none", "agg": "MIN", "previousStartTs": 2, "previousEndTs": 1},
    ]
    part = {"keys": keys, "startTs": 10_000, "endTs": 20_000}
    answer = socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices), aggHistoryCmd=part)
    empty = point(0, "")
    assert [each["aggLatest"] for each in answer["data"]["data"]] == [
        {
            "1": {"current": point(15_000, "11000"), "previous": point(3000, "6000")},
            "2": {"current": point(15_000, "11000"), "previous": None},
            "3": {"current": None, "previous": point(3000, "3000")},
            "4": {"current": empty, "previous": empty},
            "5": {"current": point(15_000, "0"), "previous": None},
            "6": {"current": empty, "previous": None},
        },
        {
            "1": {"current": point(15_000, "0"), "previous": point(3000, "0")},
            "2": {"current": empty, "previous": None},
            "3": {"current": None, "previous": empty},
            "4": {"current": empty, "previous": empty},
            "5": {"current": point(15_000, "0"), "previous": None},
            "6": {"current": empty, "previous": None},
        },
    ]
    again = socket.request(type="ENTITY_DATA", cmd_id=1, aggHistoryCmd={**part, "keys": keys[1:2]})
    assert (again["data"], len(again["update"])) == (None, 2)


def test_there_are_no_alarms(socket):
    shared = {"cmdId": 7, "errorCode": 0, "errorMsg": None}
    wanted = {"type": "ALARM_COUNT", "cmd_id": 7, "query": {"typeList": ["x"]}}
    assert socket.request(**wanted) == {**shared, "count": 0, "cmdUpdateType": "ALARM_COUNT_DATA"}
    status = {"type": "ALARM_STATUS", "cmd_id": 7, "originator_id": {"entityType": "DEVICE", "id": "x"}}
    assert socket.request(**status) == {**shared, "active": False, "cmdUpdateType": "ALARM_STATUS"}
    socket.command(type="ALARM_STATUS_UNSUBSCRIBE", cmd_id=7)
    answer = socket.request(type="ALARM_DATA", cmd_id=7, query={})
    assert (answer["data"]["totalElements"], answer["cmdUpdateType"]) == (0, "ALARM_DATA")


def test_series_are_followed_from_a_time_window_on(shared_operator, socket, devices):
    first, second = devices
    store(shared_operator, first, 1000, a=1)
    part = {"keys": ["a"], "startTs": 500, "timeWindow": 1000}
    page = socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices), ts_cmd=part)["data"]
    assert [each["timeseries"]["a"] for each in page["data"]] == [[point(1000, "1")], []]
    store(shared_operator, second, 2000, a=2, b=3)
    assert socket.read() == update(second, None, {"a": [point(2000, "2")]})


def test_page_comes_first_and_values_for_a_later_command(shared_operator, socket, devices):
    first, _ = devices
    store(shared_operator, first, 1000, a=1)
    assert socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices))["update"] is None
    store(shared_operator, first, 2000, a=2)
    both = {"latest_cmd": {"keys": [key("TIME_SERIES", "a")]}, "ts_cmd": {"keys": ["a"], "timeWindow": 9000}}
    latest = socket.request(type="ENTITY_DATA", cmd_id=1, **both)
    assert latest["data"] is None
    assert latest["update"][0]["latest"]["TIME_SERIES"] == {"a": point(2000, "2")}
    assert socket.read()["update"][0]["timeseries"]["a"] == [point(2000, "2"), point(1000, "1")]
    store(shared_operator, first, 3000, a=3)
    assert socket.read() == update(first, {"TIME_SERIES": {"a": point(3000, "3")}})
    assert socket.read() == update(first, None, {"a": [point(3000, "3")]})


def test_unsubscribed_devices_are_silent(shared_operator, socket, devices):
    latest = {"latestCmd": {"keys": [key("TIME_SERIES", "a")]}}
    socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices), **latest)
    socket.request(type="ENTITY_DATA", cmd_id=2, query=query(devices[0]), **latest)
    socket.command(type="ENTITY_DATA_UNSUBSCRIBE", cmd_id=1)
    store(shared_operator, devices[1], 1, a=1)
    store(shared_operator, devices[0], 1, a=1)
    assert socket.read() == update(devices[0], {"TIME_SERIES": {"a": point(1, "1")}}, command=2)


def count_query(devices):
    return {"entityFilter": {"type": "entityList", "entityType": "DEVICE", "entityList": devices}}


REFUSED = [
    {"query": {**query(), "entityFilter": {"type": "entityType", "entityType": "ASSET"}}},
    {"query": query(link={"sortOrder": {"key": key("ENTITY_FIELD", "password"), "direction": "ASC"}})},
    {"query": query(), "ts_cmd": {"keys": ["a"], "limit": -1}},
    {"query": query(), "ts_cmd": {"keys": ["a"], "timeZoneId": "../x", "agg": "SUM"}},
]


@pytest.mark.parametrize("fields", REFUSED, ids=str)
def test_query_that_cannot_be_answered_is_an_error(socket, devices, fields):
    answer = socket.request(type="ENTITY_DATA", cmd_id=3, **fields)
    assert (answer["subscriptionId"], answer["errorCode"], answer["data"]) == (3, 2, None)
    assert socket.request(type="ENTITY_DATA", cmd_id=3, query=query(*devices))["data"]["totalElements"] == 2


def test_predicates_nested_without_end_are_an_error(socket, devices):
    value = {"type": "STRING", "operation": "EQUAL", "value": {"defaultValue": "x"}}
    for depth in range(120):
        value = {"type": "COMPLEX", "operation": "AND", "predicates": [value]}
        if depth % 30 == 29:
            filters = [{"key": NAME, "valueType": "STRING", "predicate": value}]
            answer = socket.request(type="ENTITY_DATA", cmd_id=1, query={**query(*devices), "keyFilters": filters})
            assert answer["errorCode"] in {0, 2}
    assert socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices))["data"]["totalElements"] == 2


def test_too_many_values_are_an_error(socket, devices, monkeypatch):
    monkeypatch.setattr("bench.server.http.operator.live.client.VALUES", 3)
    monkeypatch.setattr("bench.server.http.operator.live.entities.VALUES", 3)
    two = {"latestCmd": {"keys": [key("TIME_SERIES", each) for each in "ab"]}}
    for fields in (two, {"history_cmd": {"keys": ["a", "b"]}}):
        answer = socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices), **fields)
        assert (answer["errorCode"], answer["errorMsg"][:11]) == (2, "More than 3")
    one = {"latestCmd": {"keys": [key("TIME_SERIES", "a")]}}
    for _ in range(3):  # what was refused or replaced does not count any more
        assert socket.request(type="ENTITY_DATA", cmd_id=1, query=query(*devices), **one)["errorCode"] == 0


@on_both_databases
def test_dynamic_pages_and_numbers_follow_the_devices_that_there_are(server, server_operator, monkeypatch):
    monkeypatch.setattr(session, "_LOOK_S", 0.1)
    monkeypatch.setattr(session, "_PAUSE_S", 0.01)
    every = {"type": "entityType", "entityType": "DEVICE"}
    known = new_device(server_operator)["id"]["id"]
    latest = {"keys": [key("TIME_SERIES", "a")]}
    with live(server, server_operator) as client:
        page = {"entityFilter": every, "pageLink": {"pageSize": 10, "dynamic": True}}
        found = client.request(type="ENTITY_DATA", cmd_id=1, query=page, latest_cmd=latest)
        assert [each["entityId"]["id"] for each in found["data"]["data"]] == [known]
        assert client.request(type="ENTITY_COUNT", cmd_id=2, query={"entityFilter": every})["count"] == 1
        client.command(type="ENTITY_COUNT", cmd_id=2, query={"entityFilter": every})  # again: no answer
        fresh = new_device(server_operator)["id"]["id"]
        answers = {each["cmdId"]: each for each in (client.read(), client.read())}
        assert {each["entityId"]["id"] for each in answers[1]["data"]["data"]} == {known, fresh}
        assert answers[2]["count"] == 2
        store(server_operator, fresh, 1, a=1)
        assert client.read() == update(fresh, {"TIME_SERIES": {"a": point(1, "1")}})
        client.command(type="ENTITY_COUNT_UNSUBSCRIBE", cmd_id=2)
        assert client.request(type="TIMESERIES_HISTORY", cmd_id=3)["errorCode"] == 2  # by now it is done
        ok(server_operator.delete(f"/api/device/{fresh}"))
        assert [each["entityId"]["id"] for each in client.read()["data"]["data"]] == [known]
