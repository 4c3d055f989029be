"""Devices of a server as a whole: a page of them at once, or one by one where the server has no such pages."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from bench.errors import NotFound
from bench.rest_client.device_files import CREDENTIALS, SCOPES
from bench.rest_client.session import id_of, in_parallel
from bench.rest_client.thingsboard import ThingsBoard


async def pages(
    server: ThingsBoard, *, search: str, profile: str, with_credentials: bool
) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
    """Yield pages of devices, with all of them that another server can be given, and the number of all so far known.

    What is made or deleted meanwhile may be among them or not, but no device is there twice.

    Args:
        server: Where from. Only bench serve gives a page of devices at once; others need several requests for each.
        search: A text in their names, labels or profiles; empty for any.
        profile: The name of their profile; empty for any.
        with_credentials: Their credentials, too, which are secret.
    """
    wanted = {"search": search, "profile": profile}
    try:
        async for page in server.device_records(**wanted, with_credentials=with_credentials):
            yield page
    except NotFound:
        pass
    else:
        return
    seen: set[str] = set()  # what is made or deleted meanwhile moves others to the next page
    async for some, count in server.device_infos(**wanted):
        new = [each for each in some if each["name"] not in seen]
        seen.update(each["name"] for each in new)
        yield await _one_by_one(server, new, with_credentials=with_credentials), count


async def _one_by_one(
    server: ThingsBoard, devices: Sequence[dict[str, Any]], *, with_credentials: bool
) -> list[dict[str, Any]]:
    """Return devices, whose information this is, as `device_records` has them, but for those that are gone."""
    records = await server.records([id_of(each) for each in devices])

    async def one(device: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return await _whole(server, device, records[id_of(device)], with_credentials=with_credentials)
        except (KeyError, NotFound):
            return None

    return [each for each in await in_parallel(devices, one) if each is not None]


async def _whole(
    server: ThingsBoard, device: dict[str, Any], record: Mapping[str, str], *, with_credentials: bool
) -> dict[str, Any]:
    device_id = id_of(device)
    found = {
        "name": device["name"],
        "label": device.get("label"),
        "profile": device["type"],
        "customer": device.get("customerTitle"),
        "serialNumber": record["serialNumber"] or None,
        "access": record["access"] or None,
        # who keeps no such record, keeps no fields
        "fields": await server.own_fields(device_id) if record["access"] else {},
        "additionalInfo": device.get("additionalInfo"),
    }
    if with_credentials:
        own = await server.credentials(device_id)
        found["credentials"] = {key: own[key] for key in CREDENTIALS}
    return {**found, "attributes": {scope: await server.attributes(device_id, scope) for scope in SCOPES}}
