"""A rollout to a real board: a bad version stops it and leaves the board as it was, the good one after it is kept."""

import time

import pytest

from bench.flash import firmware
from tests.support.operators import login, ok
from tests.support.packages import new_package
from tests.support.servers import PATIENCE_S
from tests.support.updates import NEXT, firmware_files, firmware_package, in_force

OLD = firmware.version()
BAD = "1.9.0"


@pytest.fixture
def operator(server):
    with login(server) as client:
        yield client


def start(operator, device, data, version):
    """Begin a rollout of a package to the device's profile; return its path."""
    package = new_package(operator, data, title="firstboot", version=version)
    form = {"packageId": package["id"]["id"], "deviceProfileId": device["deviceProfileId"]["id"]}
    return f"/api/rollouts/{ok(operator.post('/api/rollouts', json=form))['id']}"


def ended(operator, path):
    """Return a rollout as it is at its end."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := ok(operator.get(path)))["endedTime"] is None:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)  # the board is another process: nothing here could be awaited
    return found


def test_bad_version_is_taken_back_and_the_next_one_is_kept(server, operator, make_board):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("telemetry")
        device = ok(operator.get("/api/tenant/devices", params={"deviceName": f"firstboot-{board.mac}"}))
        bad = firmware_package(BAD, files=firmware_files(BAD, app=b"raise ValueError('no good')"))
        rollout = start(operator, device, bad, BAD)
        for _ in range(2):  # it tries twice
            power.expect_event("update", step="trial")
            power.expect_event("boot", firmware=OLD)
        power.expect_event("listening")
        stopped = ended(operator, rollout)
        assert (stopped["state"], stopped["failed"]) == ("stopped", 1)
        assert "ValueError: no good" in stopped["reason"]
        assert ok(operator.get(f"/api/device/{device['id']['id']}"))["firmwareId"] is None
        rollout = start(operator, device, firmware_package(), NEXT)
        power.expect_event("update", step="updated", version=NEXT)
        finished = ended(operator, rollout)
        assert (finished["state"], finished["updated"]) == ("finished", 1)
    assert in_force(power.events)[-2:] == [OLD, NEXT]
