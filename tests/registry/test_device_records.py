"""Pages of devices as a whole: each has its place in the order of the database, whatever its name."""

import asyncio

from bench.registry import device_records
from bench.registry.devices import DevicePageQuery
from bench.registry.provision_type import ProvisionType
from bench.registry.registry import Registry
from tests.support.servers import on_both_databases

NAMES = [
    *(
        "a",
        "A",
        "a b",
        "a-b",
        "a.b",
        "ab",
        "aB",
        "Ab",
        "a1",
        "a10",
        "a2",
        "_",
        "%",
        "~",
        "0",
        "'",
        '"',
        "\\",
        "ß",
        "ss",
    ),
    *(
        "é",
        "e\u0301",
        "e",
        "E",
        "z",
        "Z",
        "\u0130",
        "i",
        "\U0001f525",
        "\uffff",
        "\u200b",
        "a\u200b",
        "\u202ea",
        "ﬁ",
        "fi",
    ),
]


@on_both_databases
def test_pages_have_each_device_once_whatever_its_name(tmp_path, database):
    async def scenario():
        registry = await Registry.open(tmp_path / "data", database)
        try:
            await registry.create_profile("press", ProvisionType.DISABLED)
            made = {(await registry.create_device(name, "press", token=f"token {name}")).name for name in NAMES}
            found, after = [], ""
            while True:
                page = DevicePageQuery(size=2)
                rows, left = await registry.read(device_records.page, page, after=after, with_credentials=True)
                found += rows
                assert left == len(made) - len(found) + len(rows)
                if len(rows) == left:
                    break
                after = rows[-1].device.name
            assert len(found) == len(made)
            assert {each.device.name for each in found} == made
            assert all(each.credentials.id == f"token {each.device.name}" for each in found)
        finally:
            await registry.close()

    asyncio.run(scenario())
