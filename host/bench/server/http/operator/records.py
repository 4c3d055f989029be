"""The route of exports: devices as a whole, a page at a time. Not ThingsBoard's, whose clients do not meet it."""

import asyncio
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from bench.registry import device_records
from bench.registry.audit import Subject
from bench.registry.device_records import DeviceRecord
from bench.registry.devices import DevicePageQuery
from bench.server.http.operator import access
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyAccount, AuthenticatedRoute
from bench.server.http.operator.errors import Forbidden
from bench.server.http.operator.params import PAGE_LIMIT
from bench.server.http.operator.schemas.records import RecordPage
from bench.server.json_writer import compact

router = ApiRouter(AuthenticatedRoute, "devices")


@router.get("/deviceRecords", summary="Devices with all that another server can be given", response_model=RecordPage)
async def page(
    caller: AnyAccount,
    size: Annotated[int, Query(alias="pageSize", ge=1, le=PAGE_LIMIT, description="How many, at most.")],
    after: Annotated[str, Query(max_length=255, description="The name that theirs come after.")] = "",
    search: Annotated[str, Query(alias="textSearch", max_length=255, description="Only what contains this.")] = "",
    profile: Annotated[str, Query(alias="type", description="Only devices of the profile with this name.")] = "",
    with_credentials: Annotated[
        bool, Query(alias="withCredentials", description="What they log in with, too.")
    ] = False,
) -> Response:
    if with_credentials and not access.may_read_credentials(caller.roles):
        raise Forbidden
    wanted = DevicePageQuery(size=size, search=search, profile_name=profile or None, customer_id=caller.customer_id)
    found, left = await caller.read(device_records.page, wanted, after=after, with_credentials=with_credentials)
    if with_credentials:
        await caller.record_all("device.credentials_read", [Subject.of(each.device) for each in found])
    return Response(await asyncio.to_thread(_written, found, left), media_type="application/json")


def _written(found: list[DeviceRecord], left: int) -> bytes:
    """Return a page as JSON, a device after the other: others get their turn between two."""
    return f'{{"left":{left},"devices":[{",".join(compact(_json(each)) for each in found)}]}}'.encode()


def _json(record: DeviceRecord) -> dict[str, Any]:
    device, own = record.device, record.credentials
    found = {
        "name": device.name,
        "label": device.label,
        "profile": record.profile,
        "customer": record.customer,
        "serialNumber": device.serial_number,
        "access": record.access.value,
        "fields": record.fields,
        "additionalInfo": device.additional_info,
    }
    if own is not None:
        found["credentials"] = {
            "credentialsType": own.type.value,
            "credentialsId": own.id,
            "credentialsValue": own.value,
        }
    return {**found, "attributes": record.attributes}
