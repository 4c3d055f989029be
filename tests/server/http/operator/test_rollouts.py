"""Rollouts as operators have them: begun, watched, paused and stopped over REST, and driven by the server."""

import json
import time

import pytest

from bench.server import rollouts
from tests.support.operators import login, name, new_device, new_operator, new_profile, ok, refused
from tests.support.packages import new_package
from tests.support.receivers import Receiver
from tests.support.servers import PATIENCE_S

ROLLOUTS = "/api/rollouts"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(rollouts, "_TURN_S", 0.01)


@pytest.fixture
def form(shared_operator):
    """A rollout that can be begun: its profile has three devices."""
    profile = new_profile(shared_operator)
    for _ in range(3):
        new_device(shared_operator, type=profile["name"])
    package = new_package(shared_operator)
    return {"packageId": package["id"]["id"], "deviceProfileId": profile["id"]["id"], "canary": 1}


def start(operator, form, **fields):
    return ok(operator.post(ROLLOUTS, json={**form, **fields}))


def devices(operator, rollout, *states):
    path = f"{ROLLOUTS}/{rollout['id']}/devices"
    return ok(operator.get(path, params={"pageSize": 100, "page": 0, "state": states}))["data"]


def until(operator, rollout, **expected):
    """Return the rollout as soon as it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = ok(operator.get(f"{ROLLOUTS}/{rollout['id']}"))
        if {key: found[key] for key in expected} == expected:
            return found
        assert time.monotonic() < deadline, found


def report(operator, device, **values):
    ok(operator.post(f"/api/plugins/telemetry/DEVICE/{device['id']}/timeseries/ANY", json=values))


def test_rollout_goes_through_its_devices_and_ends(shared_operator, form):
    rollout = start(shared_operator, form, attributes={})
    assert (rollout["state"], rollout["devices"], rollout["stopPercent"]) == ("running", 3, 2.0)
    until(shared_operator, rollout, updating=1, pending=2)
    (first,) = devices(shared_operator, rollout, "updating")
    saved = ok(shared_operator.get(f"/api/device/{first['id']}"))
    assert saved["firmwareId"]["id"] == form["packageId"]
    assert first["step"] == "INITIATED"
    has = {"current_fw_title": rollout["title"], "current_fw_version": rollout["version"]}  # stored as a number
    report(shared_operator, first, fw_state="UPDATED", **has)
    until(shared_operator, rollout, updating=2, updated=1)
    for each in devices(shared_operator, rollout, "updating"):
        report(shared_operator, each, fw_state="UPDATED", **has)
    ended = until(shared_operator, rollout, state="finished", updated=3)
    assert ended["endedTime"] >= ended["createdTime"]
    (found,) = [
        each
        for each in ok(shared_operator.get(ROLLOUTS, params={"pageSize": 100, "page": 0}))["data"]
        if each["id"] == rollout["id"]
    ]
    assert found == ended


def test_device_as_it_was_before_its_assignment_is_not_saved_over_it(shared_operator, form):
    before = ok(shared_operator.get("/api/tenant/devices", params={"pageSize": 1000, "page": 0}))["data"]
    rollout = start(shared_operator, form)
    until(shared_operator, rollout, updating=1)
    (first,) = devices(shared_operator, rollout, "updating")
    (stale,) = [each for each in before if each["id"]["id"] == first["id"]]
    refused(shared_operator.post("/api/device", json={**stale, "label": "x"}), 409, 35)


def test_failed_device_stops_the_rollout_with_its_cause_and_webhooks_are_sent_it(server_operator):
    profile, package = new_profile(server_operator), new_package(server_operator)
    new_device(server_operator, type=profile["name"])
    form = {"packageId": package["id"]["id"], "deviceProfileId": profile["id"]["id"]}
    with Receiver() as receiver:
        events = ["rollout_started", "rollout_stopped", "rollout_finished"]
        ok(server_operator.post("/api/hooks", json={"url": receiver.url, "events": events}))
        rollout = start(server_operator, form)
        until(server_operator, rollout, updating=1)
        (device,) = devices(server_operator, rollout)
        report(server_operator, device, fw_state="FAILED", fw_error="no room")
        stopped = until(server_operator, rollout, state="stopped")
        assert stopped["reason"] == f"one of the first devices failed: {device['name']}: no room"
        assert [(each["state"], each["cause"]) for each in devices(server_operator, rollout)] == [("failed", "no room")]
        got = {each.json["event"]: each.json for each in (receiver.next(), receiver.next())}
    assert list(got) == events[:2]
    assert got["rollout_stopped"]["device"] is None
    assert got["rollout_stopped"]["by"] == "server"
    assert got["rollout_stopped"]["rollout"] == {
        "id": rollout["id"],
        "type": "FIRMWARE",
        "title": package["title"],
        "version": "1.0",
        "profile": profile["name"],
        "state": "stopped",
        "reason": stopped["reason"],
    }


def test_rollout_is_paused_resumed_and_stopped(shared_operator, form):
    rollout = start(shared_operator, form)
    path = f"{ROLLOUTS}/{rollout['id']}"
    assert ok(shared_operator.post(f"{path}/pause"))["state"] == "paused"
    refused(shared_operator.post(f"{path}/pause"), 400, 31)
    refused(shared_operator.post(ROLLOUTS, json=form), 400, 31)
    assert ok(shared_operator.post(f"{path}/resume"))["state"] == "running"
    assert ok(shared_operator.post(f"{path}/stop"))["state"] == "stopped"
    refused(shared_operator.post(f"{path}/resume"), 400, 31)


@pytest.mark.parametrize(
    "fields",
    [
        {"canary": -1},
        {"atMost": 0},
        {"atMost": 1001},
        {"rateNumber": 0},
        {"stopPercent": 0},
        {"stopFailures": 0},
        {"timeoutSeconds": 0},
        {"attributes": {"a": None}},
        {"attributes": {"a": {}}},
        {"attributes": {"": 1}},
        {"attributes": {str(number): 1 for number in range(17)}},
        {"packageId": "x"},
    ],
    ids=json.dumps,
)
def test_rollout_that_makes_no_sense_is_refused(shared_operator, form, fields):
    refused(shared_operator.post(ROLLOUTS, json={**form, **fields}), 500, 2)  # as for any body that does not fit


def test_rollout_that_is_not_there_is_404(shared_operator, form):
    path = f"{ROLLOUTS}/{form['packageId']}"
    for answer in (
        shared_operator.get(path),
        shared_operator.get(f"{path}/devices", params={"pageSize": 1, "page": 0}),
        shared_operator.post(f"{path}/pause"),
        shared_operator.post(ROLLOUTS, json={**form, "packageId": form["deviceProfileId"]}),
    ):
        refused(answer, 404, 32)


def test_reader_looks_and_does_nothing(shared_server, shared_operator, form):
    rollout = start(shared_operator, form)
    with new_operator(shared_server, "read-only") as reader:
        assert ok(reader.get(f"{ROLLOUTS}/{rollout['id']}"))["id"] == rollout["id"]
        refused(reader.post(f"{ROLLOUTS}/{rollout['id']}/stop"), 403, 20)
        refused(reader.post(ROLLOUTS, json=form), 403, 20)


def test_server_goes_on_with_a_rollout_after_its_restart(start_server):
    server = start_server()
    with login(server) as operator:
        profile, package = new_profile(operator), new_package(operator)
        new_device(operator, type=profile["name"], name=name())
        form = {"packageId": package["id"]["id"], "deviceProfileId": profile["id"]["id"]}
        rollout = start(operator, form)
        until(operator, rollout, updating=1)
    server.stop()
    server = start_server()
    with login(server) as operator:
        (device,) = devices(operator, rollout)
        report(operator, device, current_fw_title=package["title"], current_fw_version="1.0")
        until(operator, rollout, state="finished", updated=1)
