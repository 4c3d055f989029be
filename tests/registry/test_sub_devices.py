"""The devices that a gateway gets by their names, and those that it must not have."""

import pytest
from sqlalchemy import select

from bench.errors import NotFound, Refused
from bench.registry import customers, devices, profiles, sub_devices
from bench.registry.audit import Origin
from bench.registry.logins import KnownDevice
from bench.registry.model import Audit, Device, Profile
from bench.registry.provision_type import ProvisionType
from bench.registry.sub_devices import LAST_GATEWAY, TooMany, Wanted
from tests.support.servers import on_both_databases

pytestmark = on_both_databases
ORIGIN = Origin("192.0.2.1", "mqtt", "r1")


def scene(session):
    """Make two customers, and gateways of nobody and of each; return their ids."""
    profile = profiles.default(session)
    made = {}
    for title in ("", "Acme", "Other"):
        owner = customers.save(session, title).id if title else None
        name = f"gateway {title}"
        info = {"gateway": True}
        made[title] = devices.create(session, name, profile, customer_id=owner, additional_info=info).id
    return made


async def prepared(registry):
    await registry.create_profile("default", ProvisionType.DISABLED)
    return await registry.write(scene)


async def connect(registry, gateway_id, *wanted, profile="default"):
    return await registry.write(sub_devices.connect, gateway_id, dict.fromkeys(wanted, Wanted(profile=profile)), ORIGIN)


async def device(registry, name):
    return await registry.read(lambda session: devices.by_name(session, name))


BAD_NAMES = [" ", "", "\0", "a\0b", "x" * 256, "<script>", "{{a}}", "\N{MUSICAL SYMBOL G CLEF}" * 128]


def test_gateway_that_is_gone_gets_nothing(run):
    async def scenario(registry):
        gateways = await prepared(registry)
        await registry.delete_device("gateway ")
        with pytest.raises(NotFound):
            await connect(registry, gateways[""], "a")
        with pytest.raises(NotFound):
            await registry.read(sub_devices.find, gateways[""], ["a"])

    run(scenario)


def test_names_and_profiles_that_nobody_may_have_are_refused_and_nothing_is_made(run):
    async def scenario(registry):
        gateways = await prepared(registry)
        found = await connect(registry, gateways[""], *BAD_NAMES, profile="new one")
        assert list(found) == BAD_NAMES
        assert all(isinstance(each, Refused) for each in found.values())
        for profile in ("", " ", "x" * 256, "<b>"):
            assert isinstance((await connect(registry, gateways[""], "good", profile=profile))["good"], Refused)
        assert {each.name for each in await registry.profiles()} == {"default"}
        assert {each.name for each in await registry.devices()} == {"gateway ", "gateway Acme", "gateway Other"}
        assert await registry.read(sub_devices.find, gateways[""], BAD_NAMES) == {}

    run(scenario)


@pytest.mark.parametrize("info", [None, {}, {"description": "mine"}, [1], "text"])
def test_device_that_never_came_through_a_gateway_stays_as_it_is(run, info):
    async def scenario(registry):
        gateways = await prepared(registry)
        await registry.write(
            lambda session: devices.create(session, "mine", profiles.default(session), additional_info=info)
        )
        before = await device(registry, "mine")
        found = await connect(registry, gateways[""], "mine", "gateway ", "gateway Acme")
        assert all(isinstance(each, Refused) for each in found.values())
        after = await device(registry, "mine")
        assert (after.additional_info, after.version) == (before.additional_info, before.version)
        assert await registry.read(sub_devices.find, gateways[""], ["mine"]) == {}

    run(scenario)


def test_new_device_is_made_with_its_profile_for_the_gateway_s_customer(run):
    async def scenario(registry):
        gateways = await prepared(registry)
        found = await connect(registry, gateways["Acme"], "a", "b", profile="sensors")
        made = [await device(registry, name) for name in ("a", "b")]
        assert found == {each.name: KnownDevice(each.id, each.name) for each in made}
        gateway = await device(registry, "gateway Acme")
        for each in made:
            assert each.additional_info == {LAST_GATEWAY: str(gateway.id)}
            assert (each.gateway_id, each.customer_id) == (gateway.id, gateway.customer_id)
        profile = await registry.profile("sensors")
        assert profile.provision_type == ProvisionType.DISABLED
        rows = await registry.read(lambda session: session.scalars(select(Audit)).all())
        assert [(row.who, row.what, row.entity, row.result, row.address) for row in rows] == [
            ("device", "device.added", name, "SUCCESS", "192.0.2.1") for name in ("a", "b")
        ]
        assert await registry.read(sub_devices.find, gateway.id, ["a", "b", "c"]) == found

    run(scenario)


def test_device_goes_from_gateway_to_gateway_and_keeps_all_else(run):
    async def scenario(registry):
        gateways = await prepared(registry)
        first = await connect(registry, gateways[""], "a", profile="sensors")

        def describe(session):
            found = devices.by_name(session, "a")
            found.additional_info = {**found.additional_info, "description": "kept"}

        await registry.write(describe)
        await make_free_gateway(registry)
        second = (await device(registry, "second")).id
        assert await registry.read(sub_devices.find, second, ["a"]) == {}
        assert await connect(registry, second, "a", profile="ignored") == first
        found = await device(registry, "a")
        assert found.additional_info == {LAST_GATEWAY: str(second), "description": "kept"}
        assert found.gateway_id == gateways[""]
        assert (await registry.device("a")).profile == "sensors"
        assert {each.name for each in await registry.profiles()} == {"default", "sensors"}

    run(scenario)


async def make_free_gateway(registry):
    await registry.write(
        lambda session: devices.create(session, "second", profiles.default(session), additional_info={"gateway": True})
    )


def test_customer_s_gateway_gets_no_device_of_others(run):
    async def scenario(registry):
        gateways = await prepared(registry)
        await connect(registry, gateways[""], "nobody's")
        await connect(registry, gateways["Other"], "other's")
        found = await connect(registry, gateways["Acme"], "nobody's", "other's")
        assert all(isinstance(each, Refused) for each in found.values())
        # the operator's own gateway may have them all
        found = await connect(registry, gateways[""], "nobody's", "other's")
        assert not any(isinstance(each, Refused) for each in found.values())

    run(scenario)


def test_device_that_was_given_to_another_customer_is_not_found_any_more(run):
    async def scenario(registry):
        gateways = await prepared(registry)
        await connect(registry, gateways["Acme"], "a")
        other = (await device(registry, "gateway Other")).customer_id

        def give(session):
            devices.by_name(session, "a").customer_id = other

        await registry.write(give)
        assert await registry.read(sub_devices.find, gateways["Acme"], ["a"]) == {}
        assert isinstance((await connect(registry, gateways["Acme"], "a"))["a"], Refused)

    run(scenario)


def test_gateway_keeps_what_it_made_whatever_an_operator_wrote_over_it(run):
    async def scenario(registry):
        gateways = await prepared(registry)
        first = await connect(registry, gateways[""], "a")

        def overwrite(session):
            devices.by_name(session, "a").additional_info = None

        await registry.write(overwrite)
        assert await connect(registry, gateways[""], "a") == first
        await make_free_gateway(registry)
        await registry.write(overwrite)
        second = (await device(registry, "second")).id
        assert isinstance((await connect(registry, second, "a"))["a"], Refused)

    run(scenario)


def test_gateway_makes_so_many_devices_and_no_more(run, monkeypatch):
    monkeypatch.setattr(sub_devices, "MADE", 2)

    async def scenario(registry):
        gateways = await prepared(registry)
        found = await connect(registry, gateways[""], "a", "b", "c", profile="p")
        assert [isinstance(each, TooMany) for each in found.values()] == [False, False, True]
        await registry.delete_device("a")
        assert not isinstance((await connect(registry, gateways[""], "c"))["c"], Refused)
        count = await registry.read(lambda session: len(session.scalars(select(Device)).all()))
        assert count == 5
        assert await registry.read(lambda session: len(session.scalars(select(Profile)).all())) == 2

    run(scenario)
