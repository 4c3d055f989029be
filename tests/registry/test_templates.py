"""Templates in both databases: what is stored, and many who change it at once."""

import asyncio

import pytest

from bench.contract import templates as contract
from bench.contract.naming import NumberedNames
from bench.errors import Refused
from bench.registry import devices, issuing, profiles, templates
from bench.registry.device_query import Key
from bench.registry.devices import DevicePageQuery
from bench.registry.registry import Registry
from tests.support import registries
from tests.support.servers import on_both_databases

pytestmark = on_both_databases

AT_ONCE = 20
TEMPLATE = contract.parse(
    {
        "fields": {
            "color": {"type": "text", "default": 'r"\u00e9\U0001f534'},
            "on": {"type": "boolean", "default": True},
            **{f"f{number}": {"type": "number"} for number in range(AT_ONCE)},
        }
    }
)


async def opened(folder, database):
    registry = await Registry.open(folder, database)
    for name in ("press-1", "press-2"):
        await registries.device(registry, name)
    await registry.write(set_template, TEMPLATE)
    return registry


def set_template(session, template):
    templates.set_template(profiles.by_name(session, "mine"), template)


def change(session, name, **values):
    templates.change_own(session, devices.by_name(session, name), values)


def shown(session, name):
    device = devices.by_name(session, name)
    found = contract.effective(templates.of_device(session, device), templates.own(device))
    return {key: value for key, value in found.items() if value is not None}


def test_devices_inherit_and_keep_what_they_have_set(tmp_path, database):
    async def scenario():
        registry = await opened(tmp_path, database)
        try:
            color, on = 'r"\u00e9\U0001f534', True
            await registry.write(change, "press-1", color="blue", f0=1.5)
            assert await registry.read(shown, "press-1") == {"color": "blue", "on": on, "f0": 1.5}
            assert await registry.read(shown, "press-2") == {"color": color, "on": on}
            for wrong in ({"color": 1}, {"colour": "x"}):
                with pytest.raises(Refused):
                    await registry.write(change, "press-1", f0=2, **wrong)
            await registry.write(set_template, contract.parse({"fields": {"color": {"type": "number", "default": 7}}}))
            assert await registry.read(shown, "press-1") == await registry.read(shown, "press-2") == {"color": 7}
            await registry.write(set_template, TEMPLATE)
            assert await registry.read(shown, "press-1") == {"color": "blue", "on": on, "f0": 1.5}
        finally:
            await registry.close()

        registry = await Registry.open(tmp_path, database)
        try:
            assert await registry.read(shown, "press-1") == {"color": "blue", "on": on, "f0": 1.5}
        finally:
            await registry.close()

    asyncio.run(scenario())


def test_fields_that_many_change_at_once_are_all_there(tmp_path, database):
    async def scenario():
        registry, beside = await opened(tmp_path, database), await Registry.open(tmp_path, database)
        try:
            own = [{f"f{number}": number} for number in range(AT_ONCE)]
            await asyncio.gather(
                *((registry, beside)[at % 2].write(change, "press-1", **each) for at, each in enumerate(own))
            )
            found = await registry.read(shown, "press-1")
            assert {key: value for key, value in found.items() if key.startswith("f")} == {
                key: value for each in own for key, value in each.items()
            }
        finally:
            await beside.close()
            await registry.close()

    asyncio.run(scenario())


def test_highest_number_is_that_of_whole_numbers_after_the_stem(tmp_path, database):
    async def scenario():
        registry = await opened(tmp_path, database)
        try:
            stem = "a_%'1"
            numbers = ["007", "0", "10", "009", "9999", "00010000", "9x", "", "x99999", "9 ", "1\u0662"]
            for name in (*(stem + each for each in numbers), "a_%'", f"b{stem}70000", f"{stem.upper()}70000"):
                await registries.device(registry, name)
            assert await registry.read(issuing.highest_number, stem) == 10_000
            assert await registry.read(issuing.highest_number, "none-") == 0
        finally:
            await registry.close()

    asyncio.run(scenario())


def test_devices_that_many_define_at_once_have_names_of_their_own(tmp_path, database):
    async def scenario():
        registry, beside = await opened(tmp_path, database), await Registry.open(tmp_path, database)
        try:

            def define(session):
                profile = profiles.by_name(session, "mine")
                name = issuing.next_name(session, NumberedNames("{type}-{NN}", profile.name))
                return devices.create(session, name, profile).name

            made = await asyncio.gather(*((registry, beside)[at % 2].write(define) for at in range(AT_ONCE)))
            assert sorted(made) == [f"mine-{number:02}" for number in range(1, AT_ONCE + 1)]
        finally:
            await beside.close()
            await registry.close()

    asyncio.run(scenario())


def test_devices_are_found_by_values_of_their_own_and_defaults_and_by_no_hidden_ones(tmp_path, database):
    def found(session, name, predicate):
        key = Key("ENTITY_FIELD", f"field.{name}")
        wanted = DevicePageQuery(size=10, conditions=[predicate(key)], order=key.order)
        return [device.name for device, _, _ in devices.page(session, wanted)[0]]

    async def scenario():
        registry = await opened(tmp_path, database)
        try:
            color = 'r"\u00e9\U0001f534'

            async def having(value, name="color"):
                by = lambda key: key.string("EQUAL", value, ignore_case=False)  # noqa: E731
                return await registry.read(found, name, by)

            await registry.write(change, "press-1", color="true", on=False, f0=-1.5, f1=10)
            await registry.write(change, "press-2", f0=2, f1=9)
            assert await having(color) == ["press-2"]
            assert await having("true") == ["press-1"]
            assert await having("-1.5", "f0") == ["press-1"]
            assert await having("", "f2") == []
            assert await registry.read(found, "on", lambda key: key.truth("EQUAL", True)) == ["press-2"]
            assert await registry.read(found, "on", lambda key: key.truth("EQUAL", False)) == ["press-1"]
            assert await registry.read(found, "f0", lambda key: key.number("GREATER", -2)) == ["press-1", "press-2"]
            assert await registry.read(found, "f1", lambda key: key.number("GREATER", -2)) == ["press-2", "press-1"]
            assert await having("red", "no-such-field") == []
            await registry.write(set_template, contract.parse({"fields": {"color": {"type": "boolean"}}}))
            assert await having("true") == []  # the text of that name is hidden
            assert await having(color) == []
        finally:
            await registry.close()

    asyncio.run(scenario())
    for name in ("a.b", "", "'", "x" * 65, "name"):
        with pytest.raises(KeyError):
            Key("ENTITY_FIELD", f"field.{name}")
