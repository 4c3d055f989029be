"""The bench's own client, on the oldest and on the newest release: it uses only routes that every release has."""

import asyncio

import httpx
import pytest

from bench.contract import releases
from bench.errors import NotFound
from bench.rest_client import ThingsBoard, id_of
from tests.support.operators import account


async def use_everything(operator):
    """Use each method of the client for devices, their data, profiles and accounts; returns the devices' names."""
    await operator.create_profile("tray", "CHECK_PRE_PROVISIONED_DEVICES", key="key-of-tray", secret="secret-of-tray")
    assert [each["name"] for each in await operator.profiles()] == ["default", "tray"]
    device_id = id_of(await operator.create_device("press-1", "tray"))
    columns = [{"type": "NAME"}, {"type": "TYPE"}, {"type": "ACCESS_TOKEN"}]
    done = await operator.bulk_import("n;t;a\npress-2;tray;token-of-press-2\n", columns, ";")
    assert (done["created"], done["errors"]) == (1, 0)
    assert await operator.device_id("press-1") == device_id
    with pytest.raises(NotFound, match="no device press-9: see bench device list"):
        await operator.device("press-9")
    await operator.set_credentials(device_id, "ACCESS_TOKEN", credentialsId="token-of-press-1")
    assert (await operator.credentials(device_id))["credentialsId"] == "token-of-press-1"
    await operator.set_attributes(device_id, "SERVER_SCOPE", {"place": "hall"})
    assert (await operator.attributes(device_id, "SERVER_SCOPE"))["place"] == "hall"
    await operator.delete_attributes(device_id, "SERVER_SCOPE", ["place"])
    assert await operator.latest(device_id) == await operator.history(device_id, ["x"], seconds=9, limit=9) == {}
    customer_id = id_of(await operator.create_customer("Acme"))
    assert id_of((await operator.customers())[0]) == id_of(await operator.customer("Acme")) == customer_id
    await operator.create_user("jo@acme.example", "a-password", customer="Acme")
    await operator.assign(customer_id, device_id)
    await operator.unassign(device_id)
    assert (await operator.user("jo@acme.example"))["email"] in [each["email"] for each in await operator.users()]
    assert await operator.audit(limit=5)
    await operator.delete_user("jo@acme.example")
    await operator.delete_customer("Acme")
    await operator.delete_device("press-2")
    return [each["name"] for each in await operator.devices("press")], await operator.count_devices()


@pytest.mark.parametrize("like", [releases.OLDEST, releases.NEWEST], ids=lambda each: each.version)
def test_own_client_works_with_every_release(start_server, like):
    server = start_server(like=like)

    async def scenario():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.ports.http}", timeout=30) as http:
            return await use_everything(ThingsBoard(http, *account(server).values()))

    assert asyncio.run(scenario()) == (["press-1"], 1)
