"""ThingsBoard's API over WebSockets: attributes and series as they change."""

import contextlib
import json
import ssl
import uuid

import pytest
from websockets.exceptions import ConnectionClosed

from bench.registry import users
from bench.server.http.operator.live import session
from bench.server.http.operator.live.entities import CountFollowed
from bench.server.http.operator.live.values import ValuesFollowed
from bench.server.tls import authority
from tests.support.http_requests import call
from tests.support.operators import login, name, new_customer, new_device, ok, refused, set_attributes
from tests.support.servers import on_both_databases
from tests.support.websockets import LiveClient, live, token_of, wait_for_none

NONE = {"errorCode": 0, "errorMsg": None}


@pytest.fixture
def device(shared_operator):
    """The id of a device of the shared server."""
    return new_device(shared_operator)["id"]["id"]


def error(command, code, message):
    return {"subscriptionId": command, "errorCode": code, "errorMsg": message, "data": None, "latestValues": {}}


def values(command, **data):
    latest = {key: entries[-1][0] for key, entries in data.items()}
    return {"subscriptionId": command, **NONE, "data": data, "latestValues": latest}


def series(device, **fields):
    scope = {"scope": "LATEST_TELEMETRY"}
    return {"type": "TIMESERIES", "entity_type": "DEVICE", "entity_id": device, "cmd_id": 1, **scope, **fields}


def attributes(device, **fields):
    return {"type": "ATTRIBUTES", "entity_type": "DEVICE", "entity_id": device, "cmd_id": 1, **fields}


def store(operator, device, *entries):
    for ts, stored in entries:
        body = {"ts": ts, "values": stored}
        ok(operator.post(f"/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY", json=body))


def delete_attributes(operator, device, keys, scope="SERVER_SCOPE"):
    ok(operator.delete(f"/api/plugins/telemetry/{device}/{scope}", params={"keys": keys}))


def texts(answer):
    """Return the values of an answer without their times."""
    return {key: [text for _, text in entries] for key, entries in answer["data"].items()}


# Who may.


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"authCmd": {"cmdId": 0, "token": "none"}}, 1007),
        ({"authCmd": {"cmdId": 0}}, 1007),
        ({"authCmd": {"cmdId": 0, "token": "a.b.c"}, "cmds": []}, 1007),
        ({"cmds": []}, 1008),
        ({}, 1008),
        ({"unknown": 1}, 1007),
        ([], 1007),
    ],
    ids=str,
)
def test_first_message_without_a_valid_token_closes(shared_server, message, code):
    with LiveClient(shared_server) as client:
        client.send(message)
        client.expect_closed(code, "Auth cmd is missing" if code == 1008 else None)


def test_forged_token_is_in_the_audit_trail(shared_server, shared_operator):
    forged = token_of(shared_operator)[:-4] + "AAAA"
    with LiveClient(shared_server) as client:
        client.send({"authCmd": {"cmdId": 0, "token": forged}})
        client.expect_closed(1007, "Token has expired")
    found = ok(shared_operator.get("/api/audit/logs", params={"pageSize": 50, "page": 0}))["data"]
    assert any("WS /api/ws" in json.dumps(each) for each in found)
    assert forged not in shared_server.journal_text


def test_token_in_the_address_is_taken_and_a_bad_one_closes(shared_server, shared_operator, device):
    for path in ("/api/ws", "/api/ws/plugins/telemetry"):
        with LiveClient(shared_server, f"{path}?token=none") as client:
            client.expect_closed(1011)
    with LiveClient(shared_server, f"/api/ws?token={token_of(shared_operator)}") as client:
        assert client.request(**series(device)) == values(1)
    assert token_of(shared_operator) not in shared_server.journal_text


def test_silence_closes(shared_server, monkeypatch):
    monkeypatch.setattr("bench.server.http.operator.live.session.AUTH_S", 0.05)
    with LiveClient(shared_server) as client:
        client.expect_closed(1008)


def test_path_that_is_none_closes(shared_server):
    with LiveClient(shared_server, "/api/ws/plugins/notifications") as client:
        client.expect_closed(1007, "Unknown session type")
    assert call(shared_server, "/api/ws", method="GET")[0] == 404  # without an upgrade


@on_both_databases
def test_users_of_a_customer_follow_its_devices_only(server, server_operator):
    customer, user = new_customer(server, server_operator)
    own, other = (new_device(server_operator)["id"]["id"] for _ in range(2))
    ok(server_operator.post(f"/api/customer/{customer['id']['id']}/device/{own}"))
    with user, live(server, user) as client:
        assert client.request(**series(other)) == error(1, 1, "Failed to fetch data!")
        assert client.request(**series(other, keys="a")) == error(1, 1, "Failed to fetch data!")
        assert client.request(**attributes(other)) == error(1, 1, "Failed to fetch attributes!")
        assert client.request(**attributes(other, keys="a")) == error(1, 1, "Failed to fetch attributes!")
        history = {"type": "TIMESERIES_HISTORY", "start_ts": 0, "end_ts": 1 << 50, "keys": "a"}
        assert client.request(**{**series(other), **history}) == error(1, 1, "Failed to fetch data!")
        every = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}, "pageLink": {"pageSize": 10}}
        found = client.request(type="ENTITY_DATA", cmd_id=2, query=every)
        assert [each["entityId"]["id"] for each in found["data"]["data"]] == [own]
        del every["pageLink"]
        assert client.request(type="ENTITY_COUNT", cmd_id=3, query=every)["count"] == 1
        assert client.request(**series(own, cmd_id=4)) == values(4)
        store(server_operator, other, (1, {"a": 1}))
        store(server_operator, own, (2, {"a": 2}))
        assert client.read() == values(4, a=[[2, "2"]])
        # and no longer than they are its own
        ok(server_operator.delete(f"/api/customer/device/{own}"))
        assert client.read() == error(4, 3, "Unauthorized")
        store(server_operator, own, (3, {"a": 3}))
        assert client.request(**series(own, cmd_id=5)) == error(5, 1, "Failed to fetch data!")
    rows = ok(server_operator.get("/api/audit/logs", params={"pageSize": 50, "page": 0}))["data"]
    assert sum("WS " in json.dumps(each) for each in rows) >= 6


# Series.


def test_latest_values_come_and_then_each_change(shared_operator, socket, device):
    store(shared_operator, device, (1, {"a": 21, "b": "x", "c": {"d": [1.5]}}), (2, {"b": True}))
    expected = values(1, a=[[1, "21"]], b=[[2, "true"]], c=[[1, '{"d":[1.5]}']])
    assert socket.request(**series(device)) == expected
    store(shared_operator, device, (3, {"new": 1e-7, "a": 22}))
    assert socket.read() == values(1, a=[[3, "22"]], new=[[3, "1.0E-7"]])
    body = [{"ts": 5, "values": {"a": 5}}, {"ts": 4, "values": {"a": 4}}]
    ok(shared_operator.post(f"/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY", json=body))
    assert socket.read() == values(1, a=[[5, "5"], [4, "4"]])
    ok(
        shared_operator.delete(
            f"/api/plugins/telemetry/DEVICE/{device}/timeseries/delete",
            params={"keys": "b", "deleteAllDataForKeys": True},
        )
    )
    assert socket.read() == values(1, b=[[0, ""]])


def test_only_the_keys_that_are_named_come(shared_operator, socket, device):
    store(shared_operator, device, (1, {"a": 1, "b": 1}))
    assert socket.request(**series(device, keys="a,none")) == values(1, a=[[1, "1"]])
    store(shared_operator, device, (2, {"b": 2}), (3, {"a": 3, "b": 3}), (4, {"none": 4}))
    assert socket.read() == values(1, a=[[3, "3"]])
    assert socket.read() == values(1, none=[[4, "4"]])


def test_what_a_device_sends_comes(shared_server, shared_operator, socket):
    token = name("token")
    device = ok(shared_operator.post(f"/api/device?accessToken={token}", json={"name": name("device")}))["id"]["id"]
    assert socket.request(**series(device)) == values(1)
    assert texts(socket.request(**attributes(device, cmd_id=2, scope="CLIENT_SCOPE"))) == {}
    assert call(shared_server, f"/api/v1/{token}/telemetry", b'{"ts":7,"values":{"a":1.5}}')[0] == 200
    assert socket.read() == values(1, a=[[7, "1.5"]])
    assert call(shared_server, f"/api/v1/{token}/attributes", b'{"b":"x"}')[0] == 200
    assert texts(socket.read()) == {"b": ["x"]}


def test_time_window_comes_first(shared_operator, socket, device):
    store(shared_operator, device, *((ts, {"a": ts}) for ts in range(1000, 6000, 1000)))
    window = series(device, keys="a,b", start_ts=2000, time_window=3000)
    assert socket.request(**window) == values(1, a=[[4000, "4000"], [3000, "3000"], [2000, "2000"]])
    assert socket.request(**window | {"limit": 1}) == values(1, a=[[4000, "4000"]])
    assert socket.request(**window | {"agg": "SUM", "interval": 3000}) == values(1, a=[[3500, "9000"]])
    store(shared_operator, device, (9000, {"a": 9}))
    assert socket.read() == values(1, a=[[9000, "9"]])


def test_history_comes_once(shared_operator, socket, device):
    store(shared_operator, device, (1000, {"a": 1}), (2000, {"a": 2}), (3000, {"a": 3}))
    wanted = {**series(device, keys="a,b", start_ts=1000, end_ts=3000, scope=None), "type": "TIMESERIES_HISTORY"}
    assert socket.request(**wanted) == values(1, a=[[2000, "2"], [1000, "1"]])
    assert socket.request(**wanted | {"limit": 1}) == values(1, a=[[2000, "2"]])
    assert socket.request(**wanted | {"agg": "AVG", "interval": 2000}) == values(1, a=[[2000, "1.5"]])
    assert socket.request(**wanted | {"keys": ""}) == error(1, 2, "Keys are empty!")
    assert socket.request(**wanted | {"entity_id": ""}) == error(1, 2, "Device id is empty!")
    assert socket.request(**wanted | {"limit": -1})["errorCode"] == 2
    assert socket.request(**wanted | {"agg": "MAX", "interval": 1, "end_ts": 1 << 40})["errorCode"] == 2
    store(shared_operator, device, (4000, {"a": 4}))
    assert socket.request(**attributes(device)) == values(1)  # and nothing in between


# Attributes.


def test_attributes_of_a_scope_come_and_each_change_and_deletion(shared_operator, socket, device):
    set_attributes(shared_operator, device, a=5)
    set_attributes(shared_operator, device, "SHARED_SCOPE", b=1)
    assert texts(socket.request(**attributes(device, scope="SERVER_SCOPE"))) == {"a": ["5"]}
    set_attributes(shared_operator, device, "SHARED_SCOPE", b=2)
    set_attributes(shared_operator, device, a=6, c="x")
    answer = socket.read()
    assert texts(answer) == {"a": ["6"], "c": ["x"]}
    assert answer["latestValues"]["a"] == answer["data"]["a"][0][0] > 1e12
    delete_attributes(shared_operator, device, "a,none")
    assert socket.read() == values(1, a=[[0, ""]], none=[[0, ""]])


def test_attributes_of_any_scope_and_named_ones(shared_operator, socket, device):
    set_attributes(shared_operator, device, a=1)
    set_attributes(shared_operator, device, "SHARED_SCOPE", a=2, b=2)
    assert sorted(texts(socket.request(**attributes(device, keys="a")))["a"]) == ["1", "2"]
    assert texts(socket.request(**attributes(device, cmd_id=2, keys="b", scope="SHARED_SCOPE"))) == {"b": ["2"]}
    set_attributes(shared_operator, device, "SHARED_SCOPE", a=3, b=3)
    assert sorted((each["subscriptionId"], *texts(each)) for each in (socket.read(), socket.read())) == [
        (1, "a"),
        (2, "b"),
    ]
    delete_attributes(shared_operator, device, "b")
    delete_attributes(shared_operator, device, "a")
    assert socket.read() == values(1, a=[[0, ""]])


# The end of a subscription.


def test_unsubscribed_is_silent(shared_operator, socket, device):
    assert socket.request(**series(device)) == values(1)
    assert socket.request(**attributes(device, cmd_id=2)) == values(2)
    socket.command(**series(device, unsubscribe=True))
    socket.command(**attributes(device, cmd_id=7, unsubscribe=True))  # which never was
    store(shared_operator, device, (1, {"a": 1}))
    set_attributes(shared_operator, device, b=2)
    assert texts(socket.read()) == {"b": ["2"]}
    socket.command(type="ATTRIBUTES", cmd_id=2, unsubscribe=True)  # without a device: all
    set_attributes(shared_operator, device, b=3)
    assert texts(socket.request(**series(device, cmd_id=3))) == {"a": ["1"]}


def test_same_command_again_takes_the_place_of_the_first(shared_operator, socket, device):
    assert socket.request(**series(device, keys="a")) == values(1)
    assert socket.request(**series(device, keys="b")) == values(1)
    store(shared_operator, device, (1, {"a": 1}), (2, {"b": 2}))
    assert socket.read() == values(1, b=[[2, "2"]])


def test_two_sockets_do_not_touch_each_other(shared_server, shared_operator, socket, device):
    with live(shared_server, shared_operator) as other:
        for client, cmd_id in ((socket, 1), (other, 5)):
            assert client.request(**series(device, cmd_id=cmd_id)) == values(cmd_id)
        store(shared_operator, device, (1, {"a": 1}))
        assert [socket.read(), other.read()] == [values(1, a=[[1, "1"]]), values(5, a=[[1, "1"]])]
        socket.command(**series(device, unsubscribe=True))
        assert socket.request(**series(device, cmd_id=2))["subscriptionId"] == 2
        store(shared_operator, device, (2, {"a": 2}))
        assert other.read() == values(5, a=[[2, "2"]])
        assert socket.read() == values(2, a=[[2, "2"]])
    store(shared_operator, device, (3, {"a": 3}))
    assert socket.read() == values(2, a=[[3, "3"]])


def test_closed_socket_leaves_nothing_behind(server, server_operator):
    device = new_device(server_operator)["id"]["id"]
    with live(server, server_operator) as client:
        client.request(**series(device))
        client.request(**attributes(device, cmd_id=2))
        assert server.call(lambda api: len(api.registry.changes._by_device)) == 1
    wait_for_none(server_operator)
    assert server.call(lambda api: api.registry.changes._by_device) == {}


def test_sockets_over_tls(shared_server, shared_operator, device):
    context = ssl.create_default_context(cafile=authority.ca_file(shared_server.data))
    with live(shared_server, shared_operator, ssl=context) as client:
        assert client.request(**series(device)) == values(1)
        store(shared_operator, device, (1, {"a": 1}))
        assert client.read() == values(1, a=[[1, "1"]])
        with contextlib.suppress(ConnectionClosed):
            client.socket.send("x" * 40_000)
        client.expect_closed(1009)


# Errors.

NOBODY = str(uuid.UUID(int=5))


@pytest.mark.parametrize(
    ("wanted", "code", "message"),
    [
        (series(""), 2, "Device id is empty!"),
        (attributes(None), 2, "Device id is empty!"),
        (series("x"), 2, "Invalid UUID string: x"),
        (series(NOBODY), 1, "Failed to fetch data!"),
        (attributes(NOBODY), 1, "Failed to fetch attributes!"),
        (series(NOBODY, entity_type="ASSET"), 2, "Only devices can be followed here!"),
        (attributes(NOBODY, scope="NO_SCOPE"), 2, "Invalid scope: NO_SCOPE"),
        (series(NOBODY, keys=",".join(map(str, range(1001)))), 2, "More than 1000 keys!"),
        (series(NOBODY, cmd_id=-1), 2, "Cmd id is negative value!"),
        ({"type": "ENTITY_DATA", "cmd_id": 1}, 2, "Query is empty!"),
        ({"type": "ENTITY_COUNT", "cmd_id": 1}, 2, "Query is empty!"),
    ],
    ids=lambda case: str(case)[:60],
)
def test_refused_command_is_answered_and_the_socket_stays(socket, device, wanted, code, message):
    assert socket.request(**wanted) == error(wanted["cmd_id"], code, message)
    assert socket.request(**series(device)) == values(1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        '{"cmds":{}}',
        '{"cmds":[{"type":"NONE","cmdId":1}]}',
        '{"cmds":[{"cmdId":1}]}',
        '{"cmds":[{"type":"TIMESERIES","cmdId":1,"unknown":1}]}',
        '{"cmds":[{"type":"TIMESERIES","cmdId":"x"}]}',
        '{"cmds":[{"type":"TIMESERIES","cmdId":99999999999}]}',
        '{"cmds":[{"type":"TIMESERIES","cmdId":1,"agg":"NO"}]}',
        '{"cmds":[{"type":"TIMESERIES","cmdId":1,"keys":"\\u0000"}]}',
        '{"cmds":[{"type":"TIMESERIES","cmdId":1,"keys":"\\ud800"}]}',
        '{"cmds":' + "[" * 30_000,
        '{"cmds":' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"cmds":[{"type":"ENTITY_COUNT","cmdId":1,"query":{}}]}',
    ],
    ids=lambda text: text[:50],
)
def test_message_that_cannot_be_read_is_answered_and_the_socket_stays(socket, device, text):
    socket.socket.send(text)
    assert socket.read() == error(1, 2, "Failed to parse the payload")
    assert socket.request(**series(device)) == values(1)


# The older form.


def test_older_clients_have_a_list_for_each_kind(shared_server, shared_operator, device):
    store(shared_operator, device, (1, {"a": 1}))
    of_device = {"entityType": "DEVICE", "entityId": device}
    query = {"entityFilter": {"type": "singleEntity", "singleEntity": {"entityType": "DEVICE", "id": device}}}
    path = f"/api/ws/plugins/telemetry?token={token_of(shared_operator)}"
    with LiveClient(shared_server, path) as client:
        client.send(
            {
                "tsSubCmds": [{**of_device, "cmdId": 1, "scope": "LATEST_TELEMETRY"}],
                "attrSubCmds": [{**of_device, "cmdId": 2, "scope": "SERVER_SCOPE"}],
                "historyCmds": [{**of_device, "cmdId": 3, "keys": "a", "startTs": 0, "endTs": 9}],
                "entityCountCmds": [{"cmdId": 4, "query": query}],
                "entityDataCmds": [{"cmdId": 5, "query": {**query, "pageLink": {"pageSize": 1}}}],
            }
        )
        answers = [client.read() for _ in range(5)]
        assert [each.get("subscriptionId", each.get("cmdId")) for each in answers] == [2, 1, 3, 5, 4]
        assert answers[1:3] == [values(1, a=[[1, "1"]]), values(3, a=[[1, "1"]])]
        client.send({"tsSubCmds": [{**of_device, "cmdId": 1, "unsubscribe": True}]})
        store(shared_operator, device, (2, {"a": 2}))
        set_attributes(shared_operator, device, b=1)
        assert texts(client.read()) == {"b": ["1"]}
        client.send({"cmds": []})
        assert client.read() == error(1, 2, "Failed to parse the payload")


# The end of a session.


@pytest.fixture
def only_when_changed(monkeypatch):
    """No socket looks by itself whether its user may still be there."""
    monkeypatch.setattr(session, "_LOOK_S", 600.0)


def test_logout_closes_only_its_own_session(server, server_operator, only_when_changed):
    device = new_device(server_operator)["id"]["id"]
    with login(server) as other, live(server, other) as ended, live(server, server_operator) as stays:
        assert ended.request(**series(device)) == values(1)
        assert stays.request(**series(device)) == values(1)
        ok(other.post("/api/auth/logout"))
        ended.expect_closed(1008, "Token has expired")
        with LiveClient(server) as again:
            again.send({"authCmd": {"cmdId": 0, "token": token_of(other)}})
            again.expect_closed(1007, "Token has expired")
        store(server_operator, device, (1, {"a": 1}))
        assert stays.read() == values(1, a=[[1, "1"]])


@pytest.mark.parametrize("change", ["disable", "delete", "password"])
def test_user_who_is_no_more_is_closed(server, server_operator, only_when_changed, change):
    _, user = new_customer(server, server_operator)
    me = ok(user.get("/api/auth/user"))["id"]["id"]
    with contextlib.closing(user), live(server, user) as client:
        every = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}}
        assert client.request(type="ENTITY_COUNT", cmd_id=1, query=every)["count"] == 0
        if change == "disable":
            ok(server_operator.post(f"/api/user/{me}/userCredentialsEnabled?userCredentialsEnabled=false"))
        elif change == "delete":
            ok(server_operator.delete(f"/api/user/{me}"))
        else:
            form = {"currentPassword": "a-password", "newPassword": "another-password"}
            ok(user.post("/api/auth/changePassword", json=form))
        client.expect_closed(1008)


def test_user_who_is_deleted_elsewhere_is_closed(server, server_operator, monkeypatch):
    """As `bench user` does on the data folder, which the server is not informed of."""
    monkeypatch.setattr(session, "_LOOK_S", 0.05)
    _, user = new_customer(server, server_operator)
    me = uuid.UUID(ok(user.get("/api/auth/user"))["id"]["id"])
    with contextlib.closing(user), live(server, user) as client:
        device = new_device(server_operator)["id"]["id"]
        assert client.request(**series(device))["errorCode"] == 1
        server.query(lambda registry: registry.write(lambda session: session.delete(users.get(session, me))))
        client.expect_closed(1008, "Token has expired")


def test_query_that_fails_later_keeps_no_logout_from_closing(server, server_operator, monkeypatch):
    every = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}}
    monkeypatch.setattr(session, "_LOOK_S", 0.05)
    with login(server) as user, live(server, user) as client:
        assert client.request(type="ENTITY_COUNT", cmd_id=1, query=every)["count"] == 0
        monkeypatch.setattr(CountFollowed, "_count", None)
        server.wait_for("failure", kind="TypeError")
        ok(user.post("/api/auth/logout"))
        client.expect_closed(1008, "Token has expired")


def test_update_that_cannot_be_made_closes(server, server_operator, monkeypatch):
    device = new_device(server_operator)["id"]["id"]
    with live(server, server_operator) as client:
        assert client.request(**series(device)) == values(1)
        monkeypatch.setattr(ValuesFollowed, "follows", None)
        store(server_operator, device, (1, {"a": 1}))
        client.expect_closed(1011)
        server.wait_for("failure", kind="TypeError")


def test_expired_token_closes(server, server_operator, monkeypatch):
    device = new_device(server_operator)["id"]["id"]
    monkeypatch.setattr("bench.server.http.operator.tokens._ACCESS_S", 2)
    with login(server) as short, live(server, short) as client:
        assert client.request(**series(device)) == values(1)
        client.expect_closed(1008, "Token has expired")
        refused(short.get("/api/auth/user"), 401, 11)
