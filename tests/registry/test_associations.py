"""Association codes in the registry: one winner of many, and nothing to be had from the tables."""

import asyncio

import pytest
from sqlalchemy import select

from bench.errors import Refused
from bench.registry import associations, customers, devices, lifecycle
from bench.registry.model import AssociationCode, Device
from bench.registry.registry import Registry
from tests.support import registries
from tests.support.at_rest import everything
from tests.support.servers import on_both_databases

AT_ONCE = 50


def made(session, name):
    return associations.make(session, devices.by_name(session, name))[0]


def used(session, code, title):
    return associations.use(session, code, customers.by_title(session, title)).name


async def opened(folder, database=None):
    registry = await Registry.open(folder, database)
    await registries.device(registry, "press-1")
    return registry


@on_both_databases
def test_one_of_fifty_users_gets_the_device(tmp_path, database):
    async def scenario():
        registry = await opened(tmp_path, database)
        try:
            for number in range(AT_ONCE):
                await registry.write(customers.save, f"c{number}")
            code = await registry.write(made, "press-1")
            attempts = [registry.write(used, code, f"c{number}") for number in range(AT_ONCE)]
            results = await asyncio.gather(*attempts, return_exceptions=True)
            (winner,) = [number for number, each in enumerate(results) if each == "press-1"]
            assert all(isinstance(each, Refused) for number, each in enumerate(results) if number != winner)
            device = await registry.read(devices.by_name, "press-1")
            assert lifecycle.provisioning_state(device).value == "associated"
            owner = await registry.read(customers.by_title, f"c{winner}")
            assert device.customer_id == owner.id
            return code
        finally:
            await registry.close()

    code = asyncio.run(scenario())
    assert code.replace("-", "").encode() not in b"".join(everything(tmp_path, database).values())


def test_code_in_another_device_s_row_is_worth_nothing(tmp_path):
    async def scenario():
        registry = await opened(tmp_path)
        try:
            await registries.device(registry, "press-2")
            await registry.write(customers.save, "Acme")
            code = await registry.write(made, "press-1")
            await registry.write(_move)
            with pytest.raises(Refused):
                await registry.write(used, code, "Acme")
            assert (await registry.read(devices.by_name, "press-2")).customer_id is None
        finally:
            await registry.close()

    def _move(session):
        row = session.scalar(select(AssociationCode))
        row.device_id = session.scalar(select(Device.id).where(Device.name == "press-2"))

    asyncio.run(scenario())


def test_decommissioned_device_has_no_code(tmp_path):
    async def scenario():
        registry = await opened(tmp_path)
        try:
            await registry.write(customers.save, "Acme")
            code = await registry.write(made, "press-1")
            await registry.write(lambda session: lifecycle.decommission(session, devices.by_name(session, "press-1")))
            with pytest.raises(Refused):
                await registry.write(used, code, "Acme")
            with pytest.raises(Refused):
                await registry.write(made, "press-1")
        finally:
            await registry.close()

    asyncio.run(scenario())
