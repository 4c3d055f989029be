"""Devices that were not notified of their packages are found, without a look at the others."""

import itertools
import re
import uuid

from sqlalchemy import Engine, event, update

from bench.registry import devices, packages, profiles, sub_devices
from bench.registry.audit import Origin
from bench.registry.model import Device, Profile
from bench.registry.packages import Kind
from bench.registry.profiles import Strategy
from bench.registry.provision_type import ProvisionType
from bench.registry.sub_devices import Wanted
from tests.support.servers import on_both_databases


def new_packages(session, kind):
    """Make two packages, and return their ids in their order."""
    made = (packages.create(session, kind, str(uuid.uuid4()), "1", url="https://example.com/a") for _ in range(2))
    return sorted(package.id for package in made)


def prepare(session):
    """Make two devices, each in a profile of its name, and return the id of the first."""
    strategy = Strategy(type=ProvisionType.DISABLED)
    made = [devices.create(session, name, profiles.create(session, name, strategy)) for name in ("press", "other")]
    return made[0].id


def assign(session, table, column, package_id):
    session.execute(update(table).where(table.name == "press").values({column: package_id}))


@on_both_databases
def test_each_difference_is_found_and_nobody_else(run):
    """The package of a profile or a device: one after none, a later and an earlier one, none after one."""

    async def scenario(registry):
        press = await registry.write(prepare)
        assert await registry.read(packages.behind) == []
        for kind, table in itertools.product(Kind, (Profile, Device)):
            first, second = await registry.write(new_packages, kind)
            for package_id in (first, second, first, None):
                await registry.write(assign, table, f"{kind.name.lower()}_id", package_id)
                assert await registry.read(packages.behind) == [press]
                await registry.write(packages.notify_devices, [press])
                assert await registry.read(packages.behind) == []

    run(scenario)


def test_look_for_them_is_by_indexes(run):
    """By the plans of SQLite for its statements."""
    plans = []

    def explain(_connection, cursor, statement, parameters, *_):
        if "device" in statement:
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            plans.append("; ".join(step for *_, step in plan))

    async def scenario(registry):
        await registry.write(prepare)
        package_id, _ = await registry.write(new_packages, Kind.FIRMWARE)
        await registry.write(assign, Profile, "firmware_id", package_id)
        event.listen(Engine, "before_cursor_execute", explain)
        try:
            await registry.read(packages.behind)
        finally:
            event.remove(Engine, "before_cursor_execute", explain)
        assert len(plans) == 11  # of both kinds: own packages, four differences; and whose they are
        for plan in plans:
            assert re.search(r"SEARCH device USING (COVERING )?INDEX ix_device_\w+ware", plan)

    run(scenario)


def test_device_behind_a_gateway_is_notified_when_it_is_made(run):
    async def scenario(registry):
        await registry.write(prepare)
        package_id, _ = await registry.write(new_packages, Kind.FIRMWARE)
        await registry.write(assign, Profile, "firmware_id", package_id)

        def connect(session):
            gateway = devices.by_name(session, "other")
            sub_devices.connect(
                session, gateway.id, {"new": Wanted(profile="press")}, Origin("192.0.2.1", "mqtt", "r1")
            )
            return devices.by_name(session, "new").firmware_notified

        assert await registry.write(connect) == package_id

    run(scenario)
