"""Retention while the server runs: told, counted, and in nobody's way."""

import time

from sqlalchemy import event

from bench.registry.retention import Retention
from tests.support.http_requests import call
from tests.support.mqtt_packets import new_device
from tests.support.operators import login, name, ok

OFTEN = {"every_s": 0.05}


def test_what_was_pruned_is_an_event_and_counted(start_server):
    server = start_server(retention=Retention(**OFTEN))
    new_device(server, token="its-token")
    old = int(time.time() * 1000) - 100 * 86_400_000
    body = b'[{"ts":%d,"values":{"t":1}},{"ts":%d,"values":{"t":2}},{"t":3}]' % (old, old + 1)
    assert call(server, "/api/v1/its-token/telemetry", body)[0] == 200
    found = server.wait_for("pruned")
    assert (found["history"], found["audit"]) == (2, 0)
    assert b'firstboot_pruned_total{result="history"} 2.0' in call(server, "/metrics", method="GET")[1]
    with login(server) as operator:
        device = ok(operator.get("/api/tenant/devices?deviceName=device"))["id"]["id"]
        path = f"/api/plugins/telemetry/DEVICE/{device}/values/timeseries"
        kept = ok(operator.get(f"{path}?keys=t&startTs=0&endTs=9999999999999"))
    assert [each["value"] for each in kept["t"]] == ["3"]


def test_profile_of_an_operator_has_its_own_age(start_server):
    server = start_server(retention=Retention(**OFTEN))
    with login(server) as operator:
        profile = ok(operator.get("/api/deviceProfiles?pageSize=9&page=0"))["data"][0]
        assert "historyDays" not in profile
        changed = ok(operator.post("/api/deviceProfile", json={**profile, "historyDays": 0.5, "historyMb": 7}))
        assert (changed["historyDays"], changed["historyMb"]) == (0.5, 7)
        again = ok(operator.post("/api/deviceProfile", json={**changed, "description": name()}))
        assert again["historyDays"] == 0.5
        for wrong in ({"historyDays": -1}, {"historyMb": "x"}):
            refused = operator.post("/api/deviceProfile", json={**profile, **wrong})
            assert refused.status_code in (400, 500)  # as ThingsBoard answers to a wrong type
    assert server.events("failure") == []
    server.query(lambda registry: registry.create_device("a", "default", token="its-token"))
    yesterday = int(time.time() * 1000) - 86_400_000
    assert call(server, "/api/v1/its-token/telemetry", b'{"ts":%d,"values":{"t":1}}' % yesterday)[0] == 200
    assert server.wait_for("pruned")["history"] == 1


def test_failure_is_an_event_and_the_next_turn_works(start_server):
    server = start_server(retention=Retention(**OFTEN))
    new_device(server, token="its-token")
    failing = [True]

    def refuse(_connection, _cursor, statement, *_):
        if failing and statement.startswith("DELETE FROM telemetry_history"):
            raise OSError("the disk is gone")

    engine = server.registry._database._engine
    event.listen(engine, "before_cursor_execute", refuse)
    assert call(server, "/api/v1/its-token/telemetry", b'{"ts":1,"values":{"t":1}}')[0] == 200
    assert server.wait_for("failure", what="prune")["kind"] == "OSError"
    failing.clear()
    assert server.wait_for("pruned")["history"] == 1
