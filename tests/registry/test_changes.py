"""Changes of values are told to whoever listens, once they are on the disk."""

import asyncio
import uuid

import pytest

from bench.errors import Refused
from bench.registry import devices, lifecycle, timeseries
from bench.registry.changes import Change, Changes
from bench.registry.credentials import access_token
from bench.registry.provision_type import ProvisionType
from tests.support.servers import on_both_databases

A, B = uuid.uuid4(), uuid.uuid4()


def reported(changes):
    return [(each.scope, [(key, value) for _, key, value in each.entries], list(each.deleted)) for each in changes]


async def new_device(registry):
    await registry.create_profile("own", ProvisionType.DISABLED)
    await registry.create_device("device", "own", token="the-token")
    return (await registry.token_login("the-token")).id


@on_both_databases
def test_whatever_stores_or_deletes_values_is_reported(run):
    async def scenario(registry):
        device_id = await new_device(registry)
        seen = []
        registry.changes.listen(device_id, seen.append)
        await registry.save_telemetry(device_id, [(1, "a", 1), (2, "a", 2), (1, "b", "x")])
        await registry.save_attributes(device_id, {"client": True})
        await registry.write(timeseries.set_attributes, device_id, "SHARED_SCOPE", {"shared": 5})
        await registry.write(timeseries.add_telemetry, device_id, [(3, "c", {"d": 1})])
        await registry.write(timeseries.delete_attributes, device_id, "SHARED_SCOPE", ["shared", "none"])
        await registry.write(timeseries.delete_series, device_id, ["a"], (2, 3), rewrite=True)
        await registry.write(timeseries.delete_series, device_id, ["b", "none"], rewrite=True)
        await registry.write(timeseries.delete_series, device_id, ["a"], (2, 3), rewrite=False)
        await registry.write(timeseries.delete_series, device_id, ["a", "none"], rewrite=False)
        return seen

    assert reported(run(scenario)) == [
        (None, [("a", 1), ("a", 2), ("b", "x")], []),
        ("CLIENT_SCOPE", [("client", True)], []),
        ("SHARED_SCOPE", [("shared", 5)], []),
        (None, [("c", {"d": 1})], []),
        ("SHARED_SCOPE", [], ["shared", "none"]),
        (None, [("a", 1)], []),
        (None, [], ["b"]),
        (None, [], ["a"]),
    ]


def test_what_is_rolled_back_is_not_reported(run):
    async def scenario(registry):
        device_id = await new_device(registry)
        seen = []
        registry.changes.listen(device_id, seen.append)

        def refused(session):
            timeseries.set_attributes(session, device_id, "SHARED_SCOPE", {"a": 1})
            raise Refused("no")

        with pytest.raises(Refused):
            await registry.write(refused)
        await registry.write(timeseries.set_attributes, device_id, "SERVER_SCOPE", {"b": 1})
        await asyncio.sleep(0)
        return seen

    assert reported(run(scenario)) == [("SERVER_SCOPE", [("b", 1)], [])]


def test_listeners_receive_changes_of_their_device_until_they_stop():
    async def scenario():
        changes, own, every = Changes(), [], []
        stop = changes.listen(A, own.append)
        changes.listen_scope("SHARED_SCOPE", every.append)
        shared = [Change(each, "SHARED_SCOPE", [(1, "a", 1)]) for each in (A, B)]
        changes.publish([*shared, Change(B, None, [(1, "a", 1)]), Change(A, None)])
        assert not own  # whoever changed it goes on first
        await asyncio.sleep(0)
        stop()
        stop()
        changes.publish([Change(A, None, deleted=["a"])])
        await asyncio.sleep(0)
        return len(own), len(every), changes._by_device

    assert asyncio.run(scenario()) == (1, 2, {})


@on_both_databases
def test_whatever_ends_a_login_is_reported_once_it_is_stored(run):
    async def scenario(registry):
        withdrawn = []
        registry.changes.listen_withdrawals(withdrawn.append)
        device_id = await new_device(registry)
        first, second = access_token("the-token"), access_token("another-token")

        async def change(action):
            withdrawn.clear()
            await registry.write(lambda session: action(session, devices.get(session, device_id)))
            await asyncio.sleep(0)
            return [(each.device_id, each.name, each.own) for each in withdrawn]

        def refuse(session, device):
            devices.delete(session, device)
            raise Refused("no")

        with pytest.raises(Refused):
            await change(refuse)
        assert await change(lambda _session, device: devices.rename(_session, device, "device")) == []
        assert await change(lambda session, _: devices.set_credentials(session, device_id, first)) == []
        own = device_id, "device", first
        assert await change(lambda session, _: devices.set_credentials(session, device_id, second)) == [own]
        own = device_id, "device", second
        assert await change(lambda session, device: devices.rename(session, device, "renamed")) == [own]
        own = device_id, "renamed", second
        assert await change(lambda _, device: lifecycle.deactivate(device)) == [own]
        assert await change(lambda _, device: lifecycle.deactivate(device)) == []
        assert await change(lambda _, device: lifecycle.activate(device)) == []
        assert await change(lifecycle.decommission) == [own]
        assert await change(devices.delete) == [own]

    run(scenario)
