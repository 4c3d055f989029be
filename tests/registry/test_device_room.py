"""A device's room for keys and values."""

import asyncio
import time
import uuid

import pytest
from sqlalchemy import func, select

from bench.registry import device_room as rooms
from bench.registry import timeseries
from bench.registry.batching import Conflict
from bench.registry.device_room import Full
from bench.registry.model import Attribute, Telemetry
from bench.registry.registry import Registry
from tests.support.servers import on_both_databases

pytestmark = on_both_databases


@pytest.fixture
def run(tmp_path, database):
    """Run a coroutine function with a registry and a device's id."""

    async def scenario(work):
        registry = await Registry.open(tmp_path / "data", database)
        try:
            await registry.ensure_default_profile()
            ids = []
            for name in ("device", "other"):
                await registry.create_device(name, "default", token=f"token-of-{name}")
                login = await registry.token_login(f"token-of-{name}")
                ids.append(login.id)
            return await work(registry, *ids)
        finally:
            await registry.close()

    return lambda work: asyncio.run(scenario(work))


@pytest.fixture(autouse=True)
def little(monkeypatch):
    """Bounds that are reached soon."""
    monkeypatch.setattr(rooms, "KEYS", 20)
    monkeypatch.setattr(rooms, "SIZE", 2000)


async def count(registry, table):
    return await registry.read(lambda session: session.scalar(select(func.count()).select_from(table)))


def save(registry, table, device_id, values):
    if table is Attribute:
        return registry.save_attributes(device_id, values)
    return registry.save_telemetry(device_id, [(1, key, value) for key, value in values.items()])


@pytest.mark.parametrize("table", [Attribute, Telemetry])
def test_keys_end_at_the_bound(run, table):
    async def work(registry, device, other):
        before = await count(registry, table)
        for n in range(20):
            await save(registry, table, device, {f"k{n}": n})
        with pytest.raises(Full, match="20 keys"):
            await save(registry, table, device, {"one more": 1})
        with pytest.raises(Full):
            await save(registry, table, device, {f"new{n}": n for n in range(1000)})
        await save(registry, table, device, {f"k{n}": -n for n in range(20)})  # what is there may change
        await save(registry, table, other, {"k": 1})
        assert await count(registry, table) == before + 21

    run(work)


@pytest.mark.parametrize("table", [Attribute, Telemetry])
def test_characters_end_at_the_bound(run, table):
    async def work(registry, device, other):
        await save(registry, table, device, {"a": "x" * 1500})
        with pytest.raises(Full, match="2000 characters"):
            await save(registry, table, device, {"b": "x" * 600})
        await save(registry, table, device, {"a": "x"})
        await save(registry, table, device, {"b": "x" * 600})
        await save(registry, table, other, {"a": "x" * 1500})

    run(work)


def test_scopes_share_their_room(run):
    async def work(registry, device, _other):
        for scope in ("SHARED_SCOPE", "SERVER_SCOPE"):
            await registry.write(timeseries.set_attributes, device, scope, {f"k{n}": n for n in range(9)})
        with pytest.raises(Full):
            await registry.save_attributes(device, {f"k{n}": n for n in range(9)})
        with pytest.raises(Full):
            await registry.write(timeseries.set_attributes, device, "SHARED_SCOPE", {f"l{n}": n for n in range(9)})

    run(work)


def test_refused_device_takes_nobody_with_it(run):
    async def work(registry, device, other):
        results = await asyncio.gather(
            save(registry, Telemetry, device, {f"k{n}": n for n in range(21)}),
            save(registry, Telemetry, other, {"k": 1}),
            save(registry, Telemetry, uuid.uuid4(), {"k": 1}),
            return_exceptions=True,
        )
        assert [type(each) for each in results] == [Full, type(None), Conflict]
        assert await count(registry, Telemetry) == 1

    run(work)


def test_deleted_keys_make_room(run):
    async def work(registry, device, _other):
        await save(registry, Attribute, device, {f"k{n}": n for n in range(20)})
        await registry.write(timeseries.delete_attributes, device, "CLIENT_SCOPE", ["k1"])
        await save(registry, Attribute, device, {"new": 1})

    run(work)


def test_device_that_was_beyond_the_bound_before_may_change_but_not_grow(run, monkeypatch):
    async def work(registry, device, _other):
        with monkeypatch.context() as patch:
            patch.setattr(rooms, "KEYS", 30)
            await save(registry, Attribute, device, {f"k{n}": n for n in range(30)})
        await save(registry, Attribute, device, {"k1": 2})
        with pytest.raises(Full):
            await save(registry, Attribute, device, {"new": 1})

    run(work)


def test_long_message_lets_others_in_between(run, monkeypatch):
    monkeypatch.setattr(rooms, "KEYS", 10_000)
    monkeypatch.setattr(rooms, "SIZE", 1 << 22)

    async def work(registry, device, other):
        long = asyncio.create_task(save(registry, Telemetry, device, {f"k{n}": n for n in range(9000)}))
        await asyncio.sleep(0)
        start = time.monotonic()
        await save(registry, Telemetry, other, {"k": 1})
        waited = time.monotonic() - start
        assert not long.done()
        await long
        assert waited < 0.6 * (time.monotonic() - start)
        assert await count(registry, Telemetry) == 9001

    run(work)
