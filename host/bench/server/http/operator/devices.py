"""Routes of devices: finding, counting and deleting them."""

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.registry import customers, devices
from bench.registry.devices import DevicePageQuery
from bench.registry.model import Device, Profile
from bench.registry.packages import Kind
from bench.registry.pages import PageQuery
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import (
    NEWER_ROUTE,
    CustomerId,
    DeviceId,
    ProfileId,
    Uuid,
    ids,
    listed,
    page_query,
)
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.schemas.devices import DeviceInfo, DeviceJson, EntitySubtype
from bench.server.http.operator.serializers import device_info, device_json
from bench.server.presence import SessionEnd

router = ApiRouter(AuthenticatedRoute, "devices")

_Type = Annotated[str | None, Query(alias="type", description="Only devices of the profile with this name.")]
_ProfileId = Annotated[Uuid | None, Query(alias="deviceProfileId", description="Only devices of this profile.")]
_Active = Annotated[bool | None, Query(description="Only devices that have a session now, or only those that do not.")]
_MOST_IDS = 1 << 16


@router.get("/device/types", summary="The names of the profiles that have devices")
async def types(caller: AnyUser) -> list[EntitySubtype]:
    statement = select(Profile.name).join(Device, Device.profile_id == Profile.id).distinct().order_by(Profile.name)
    if caller.customer_id is not None:
        statement = statement.where(Device.customer_id == caller.customer_id)
    found = await caller.read(lambda session: session.scalars(statement).all())
    return [EntitySubtype(tenant_id=caller.tenant, type=name) for name in found]


@router.get("/device/{deviceId}", summary="A device")
async def get(device_id: DeviceId, caller: AnyUser) -> DeviceJson:
    found = await caller.read(lambda session: devices.with_names(session, caller.device(session, device_id)))
    return device_json(caller.tenant, found)


@router.get("/device/info/{deviceId}", summary="A device, and what it belongs to")
async def info(device_id: DeviceId, caller: AnyUser) -> DeviceInfo:
    found = await caller.read(lambda session: devices.with_names(session, caller.device(session, device_id)))
    return _info(caller, found)


def _info(caller: Caller, found: tuple[Device, str, str | None]) -> DeviceInfo:
    return device_info(caller.tenant, found, active=caller.api.presence.is_connected(found[0].id))


@router.delete("/device/{deviceId}", summary="Delete a device and all that belongs to it", response_class=Response)
async def delete(device_id: DeviceId, caller: Operator) -> None:
    def change(session: Session) -> tuple[Device, None]:
        device = devices.get(session, device_id)
        devices.delete(session, device)
        return device, None

    await caller.change("device.deleted", device_id, change)
    caller.api.presence.notify_session_end(device_id, SessionEnd.DELETED)


@router.get("/tenant/device", dependencies=[NEWER_ROUTE], summary="The device of a name")
async def by_name(caller: Operator, name: Annotated[str, Query(alias="deviceName")]) -> DeviceJson:
    found = await caller.read(lambda session: devices.with_names(session, devices.by_name(session, name)))
    return device_json(caller.tenant, found)


async def _device_query(
    caller: AnyUser,
    wanted: Annotated[PageQuery, page_query(devices.SORTS)],
    profile_name: _Type = None,
    profile_id: _ProfileId = None,
) -> DevicePageQuery:
    return DevicePageQuery(
        **vars(wanted), profile_name=profile_name or None, profile_id=profile_id, customer_id=caller.customer_id
    )


_Wanted = Annotated[DevicePageQuery, Depends(_device_query)]


async def _info_query(caller: AnyUser, wanted: _Wanted, active: _Active = None) -> DevicePageQuery:
    connected = None if active is None else caller.api.presence.connected()
    return replace(wanted, connected=connected, active=bool(active))


_WantedInfos = Annotated[DevicePageQuery, Depends(_info_query)]


@router.get("/tenant/devices", summary="Devices; the device of a name, if one is given")
async def page(
    caller: Operator,
    wanted: Annotated[PageQuery | None, page_query(devices.SORTS, unless="deviceName")],
    name: Annotated[str | None, Query(alias="deviceName")] = None,
    profile_name: _Type = None,
    profile_id: _ProfileId = None,
) -> PageData[DeviceJson] | DeviceJson:
    if wanted is None:
        return await by_name(caller, name or "")
    return await _devices(caller, await _device_query(caller, wanted, profile_name, profile_id))


@router.get("/tenant/deviceInfos", summary="Devices, and what they belong to")
async def infos(caller: Operator, wanted: _WantedInfos) -> PageData[DeviceInfo]:
    return await _infos(caller, wanted)


@router.get(
    "/deviceInfos/all", dependencies=[NEWER_ROUTE], summary="Devices that the user may see, and what they belong to"
)
async def all_infos(caller: AnyUser, wanted: _WantedInfos) -> PageData[DeviceInfo]:
    return await _infos(caller, wanted)


@router.get("/customer/{customerId}/devices", summary="A customer's devices")
async def customers_page(customer_id: CustomerId, caller: AnyUser, wanted: _Wanted) -> PageData[DeviceJson]:
    await _check_customer(caller, customer_id)
    return await _devices(caller, replace(wanted, customer_id=customer_id))


@router.get("/customer/{customerId}/deviceInfos", summary="A customer's devices, and what they belong to")
async def customers_infos(customer_id: CustomerId, caller: AnyUser, wanted: _WantedInfos) -> PageData[DeviceInfo]:
    await _check_customer(caller, customer_id)
    return await _infos(caller, replace(wanted, customer_id=customer_id))


async def _check_customer(caller: Caller, customer_id: UUID) -> None:
    caller.check(customer_id)
    await caller.read(customers.get, customer_id)


@router.get("/devices", summary="Devices with these ids")
async def by_ids(caller: AnyUser, wanted: Annotated[list[str], Query(alias="deviceIds")]) -> list[DeviceJson]:
    page = DevicePageQuery(size=_MOST_IDS, ids=ids(wanted), customer_id=caller.customer_id)
    return (await _devices(caller, page)).data


@router.get(
    "/devices/count/{otaPackageType}/{deviceProfileId}",
    summary="How many devices a profile's package is for: those without their own",
)
async def count_for_package(
    kind: Annotated[Kind, Path(alias="otaPackageType")],
    profile_id: ProfileId,
    caller: Operator,
) -> int:
    own = Device.firmware_id if kind is Kind.FIRMWARE else Device.software_id
    wanted = DevicePageQuery(size=1, profile_id=profile_id, conditions=[own.is_(None)])
    return await caller.read(devices.count, wanted)


async def _devices(caller: Caller, wanted: DevicePageQuery) -> PageData[DeviceJson]:
    found = await caller.read(lambda session: devices.page(session, wanted))
    return listed(found, wanted, lambda row: device_json(caller.tenant, row))


async def _infos(caller: Caller, wanted: DevicePageQuery) -> PageData[DeviceInfo]:
    found = await caller.read(lambda session: devices.page(session, wanted))
    return listed(found, wanted, lambda row: _info(caller, row))
