"""The server attributes `active` and its kin: stored soon, checked once a minute, and again after a restart."""

import asyncio
import json

import pytest

from bench.registry import timeseries
from bench.registry.clock import now_ms
from bench.registry.model import SERVER_SCOPE
from bench.registry.provision_type import ProvisionType
from bench.registry.registry import Registry
from bench.server import activity
from bench.server.activity import Activity
from tests.support.coap_packets import NON, POST, RawPeer
from tests.support.http_requests import call
from tests.support.mqtt_packets import DISCONNECT, PINGREQ, PINGRESP, TELEMETRY, VERSIONS, device_session, new_device
from tests.support.servers import TOKEN

V3 = VERSIONS["3.1.1"]
TIMES = {"lastConnectTime", "lastActivityTime", "lastDisconnectTime", "inactivityAlarmTime"}


class Clock:
    def __init__(self):
        self.ms = 1_000_000

    def __call__(self):
        return self.ms


def with_devices(tmp_path, scenario, *names):
    """Run a scenario with a registry, a clock and an Activity that takes note of the devices with these names."""

    async def main():
        registry = await Registry.open(tmp_path)
        try:
            profile = await registry.create_profile("p", ProvisionType.DISABLED)
            ids = []
            for name in names:
                await registry.create_device(name, profile.name, token=name)
                ids.append((await registry.token_login(name)).id)
            clock = Clock()
            await scenario(registry, clock, Activity(registry, clock), *ids)
        finally:
            await registry.close()

    asyncio.run(main())


async def attributes(registry, device_id):
    found = await registry.read(timeseries.attributes, device_id, SERVER_SCOPE)
    return {each.key: json.loads(each.value) for each in found}


def test_connection_is_stored_with_its_times(tmp_path):
    async def scenario(registry, clock, noted, device):
        noted.connected(device)
        assert await attributes(registry, device) == {}
        await noted.save()
        stored = {"active": True, "lastConnectTime": 1_000_000, "lastActivityTime": 1_000_000}
        assert await attributes(registry, device) == stored
        clock.ms += 5000
        noted.disconnected(device)
        await noted.save()
        assert await attributes(registry, device) == stored | {"lastDisconnectTime": 1_005_000}

    with_devices(tmp_path, scenario, "a")


def test_activity_is_stored_every_few_seconds_and_never_lost(tmp_path):
    async def scenario(registry, clock, noted, device):
        for later, stored in ((0, 0), (1000, 0), (1999, 0), (1, 3000), (2999, 3000), (1, 6000)):
            clock.ms += later
            noted.seen(device)
            await noted.save()
            assert (await attributes(registry, device))["lastActivityTime"] == 1_000_000 + stored
        clock.ms += 100
        noted.seen(device)
        clock.ms += 3000
        await noted.save()
        assert (await attributes(registry, device))["lastActivityTime"] == 1_006_100

    with_devices(tmp_path, scenario, "a")


def test_device_that_is_silent_for_too_long_is_inactive_until_its_next_message(tmp_path):
    async def scenario(registry, clock, noted, usual, own):
        await registry.write(timeseries.set_attributes, own, SERVER_SCOPE, {"inactivityTimeout": 2000})
        for device in (usual, own):
            noted.seen(device)
        await noted.save()
        for later, silent in ((1999, ()), (1, (own,)), (597_999, (own,)), (1, (own, usual))):
            clock.ms += later
            await noted.check()
            for device in (usual, own):
                assert (await attributes(registry, device))["active"] is (device not in silent)
        assert (await attributes(registry, usual))["inactivityAlarmTime"] == 1_600_000
        assert (await attributes(registry, own))["inactivityAlarmTime"] == 1_002_000
        noted.seen(usual)
        await noted.save()
        assert (await attributes(registry, usual))["active"] is True
        assert (await attributes(registry, own))["active"] is False

    with_devices(tmp_path, scenario, "a", "b")


@pytest.mark.parametrize("value", ["soon", 1.5, True, {}])
def test_timeout_that_is_none_is_the_usual_one(tmp_path, value):
    async def scenario(registry, clock, noted, device):
        await registry.write(timeseries.set_attributes, device, SERVER_SCOPE, {"inactivityTimeout": value})
        noted.seen(device)
        await noted.save()
        for later, active in ((599_999, True), (1, False)):
            clock.ms += later
            await noted.check()
            assert (await attributes(registry, device))["active"] is active

    with_devices(tmp_path, scenario, "a")


def test_device_that_was_deleted_is_forgotten_and_harms_no_other(tmp_path):
    async def scenario(registry, clock, noted, gone, left):
        for device in (gone, left):
            noted.connected(device)
        await registry.delete_device("gone")
        await noted.save()
        assert (await attributes(registry, left))["active"] is True
        noted.disconnected(gone)
        await noted.save()
        assert list(noted._active) == [left]
        assert not noted._changes
        assert not noted._seen

    with_devices(tmp_path, scenario, "gone", "left")


def test_device_that_was_active_when_the_server_stopped_becomes_inactive_after_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(activity, "SAVE_S", 0.01)
    monkeypatch.setattr(activity, "CHECK_S", 0.02)

    async def scenario(registry, clock, noted, device):
        noted.seen(device)
        await noted.save()
        clock.ms += 700_000
        later = Activity(registry, clock)
        again = asyncio.create_task(later.run())
        while (await attributes(registry, device))["active"]:  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.01)
        later.stop()
        await again

    with_devices(tmp_path, scenario, "a")


def test_times_are_thingsboards():
    assert (activity.CHECK_S, activity.INACTIVITY_S, activity.SAVE_S, activity.REPORT_MS) == (60, 600, 1, 3000)


def server_attributes(server, wanted):
    """The device's server attributes, once those that are wanted are there."""
    while True:
        found = server.query(lambda registry: registry.device("device")).attributes.get("SERVER_SCOPE", {})
        if wanted <= found.keys():
            return found


def test_mqtt_session_is_stored_within_a_second_or_so(server):
    new_device(server)
    before = now_ms()
    with device_session(server, V3) as client:
        found = server_attributes(server, {"active", "lastConnectTime", "lastActivityTime"})
        assert found.keys() == {"active", "lastConnectTime", "lastActivityTime"}
        client.send(PINGREQ + DISCONNECT)
        client.expect(PINGRESP)
        client.expect_closed()
    found = server_attributes(server, {"lastDisconnectTime"})
    assert found["active"] is True
    assert all(before <= found[key] <= now_ms() for key in TIMES & found.keys())


def test_requests_over_http_and_coap_are_activity(server):
    new_device(server)
    assert call(server, f"/api/v1/{TOKEN}/telemetry", b'{"a":1}')[0] == 200
    assert server_attributes(server, {"active", "lastActivityTime"}).keys() == {"active", "lastActivityTime"}
    new_device(server, "other", "other")
    with RawPeer(server.ports.coap) as peer:
        peer.request(POST, "api/v1/other/telemetry", b'{"a":1}', kind=NON)
    server.close()
    again = asyncio.run(read_all(server.data))
    assert again["other"].keys() == {"active", "lastActivityTime"}


async def read_all(data):
    registry = await Registry.open(data)
    try:
        return {each.name: each.attributes["SERVER_SCOPE"] for each in await registry.devices()}
    finally:
        await registry.close()


def test_what_a_device_does_is_stored_before_the_server_ends(server):
    new_device(server)
    with device_session(server, V3) as client:
        client.send(V3.publish(TELEMETRY, b'{"a":1}', qos=1))
        client.expect(V3.puback(1))
        server.close()
    stored = asyncio.run(read_all(server.data))["device"]
    assert stored.keys() == {"active", "lastConnectTime", "lastActivityTime", "lastDisconnectTime"}
