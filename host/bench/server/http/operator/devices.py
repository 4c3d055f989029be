"""Routes of devices and their credentials."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.contract.credentials import CredentialsType
from bench.errors import Refused
from bench.registry import credentials, devices, profiles
from bench.registry.credentials import DeviceCredentials, InvalidCredentials
from bench.registry.devices import DevicePageQuery
from bench.registry.model import Device, Profile
from bench.registry.pages import PageQuery
from bench.server.http.operator.authorization import SUCCESS, AnyUser, AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import CustomerId, DeviceId, ids, listed, page_query
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.schemas.devices import (
    CredentialsForm,
    CredentialsJson,
    DeviceForm,
    DeviceInfo,
    DeviceJson,
    DeviceWithCredentialsForm,
    EntitySubtype,
)
from bench.server.http.operator.serializers import credentials_json, device_info, device_json
from bench.server.presence import SessionEnd

router = APIRouter(route_class=AuthenticatedRoute, tags=["devices"])

_Type = Annotated[str | None, Query(alias="type", description="Only devices of the profile with this name.")]
_ProfileId = Annotated[UUID | None, Query(alias="deviceProfileId", description="Only devices of this profile.")]
_MOST_IDS = 1 << 16
# For a name that is taken: another name is never made up here.
_Policy = Annotated[Literal["FAIL"], Query(alias="nameConflictPolicy")]


@router.post("/device", summary="Create or change a device")
async def save(
    form: DeviceForm,
    caller: Operator,
    token: Annotated[str | None, Query(alias="accessToken", description="For a new device.")] = None,
    policy: _Policy = "FAIL",
) -> DeviceJson:
    def change(session: Session) -> tuple[str, DeviceJson]:
        own = _made(lambda: credentials.access_token(token)) if token else None
        return form.name, _save(caller, session, form, own)

    return await caller.change(f"device.{'updated' if form.id else 'added'}", form.name, change)


@router.post("/device-with-credentials", summary="Create or change a device and its credentials")
async def save_with_credentials(
    form: DeviceWithCredentialsForm,
    caller: Operator,
    policy: _Policy = "FAIL",
) -> DeviceJson:
    device_id = form.device.id

    def change(session: Session) -> tuple[str, DeviceJson]:
        own = requested(form.credentials)
        if device_id is not None:
            devices.set_credentials(session, devices.get(session, device_id.id).id, own)
        return form.device.name, _save(caller, session, form.device, own)

    saved = await caller.change(f"device.{'updated' if device_id else 'added'}", form.device.name, change)
    if device_id is not None:
        caller.api.presence.notify_session_end(device_id.id, SessionEnd.CREDENTIALS_CHANGED)
    return saved


def _save(caller: Caller, session: Session, form: DeviceForm, own: DeviceCredentials | None) -> DeviceJson:
    if form.device_profile_id is not None:
        profile = session.get(Profile, form.device_profile_id.id)
        if profile is None:
            raise Refused("Device is referencing non existing device profile!")
    else:
        profile = profiles.find_or_create(session, form.type) if form.type else profiles.default(session)
    if form.id is None:
        device = devices.create(session, form.name, profile, own=own)
    else:
        device = devices.get(session, form.id.id)
        devices.rename(session, device, form.name)
        device.profile_id = profile.id
    device.label, device.additional_info = form.label, form.additional_info
    session.flush()
    return device_json(caller.tenant, (device, profile.name, None))


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
    def change(session: Session) -> tuple[str, None]:
        device = devices.get(session, device_id)
        devices.delete(session, device)
        return device.name, None

    await caller.change("device.deleted", str(device_id), change)
    caller.api.presence.notify_session_end(device_id, SessionEnd.DELETED)


@router.get("/tenant/device", summary="The device of a name")
async def by_name(caller: Operator, name: Annotated[str, Query(alias="deviceName")]) -> DeviceJson:
    found = await caller.read(lambda session: devices.with_names(session, devices.by_name(session, name)))
    return device_json(caller.tenant, found)


async def _device_query(
    caller: AnyUser,
    wanted: Annotated[PageQuery, page_query(devices.SORTS, size=10, number=0)],
    profile_name: _Type = None,
    profile_id: _ProfileId = None,
) -> DevicePageQuery:
    return DevicePageQuery(
        **vars(wanted), profile_name=profile_name or None, profile_id=profile_id, customer_id=caller.customer_id
    )


_Wanted = Annotated[DevicePageQuery, Depends(_device_query)]


@router.get("/tenant/devices", summary="Devices; the device of a name, if one is given")
async def page(
    caller: Operator,
    wanted: _Wanted,
    name: Annotated[str | None, Query(alias="deviceName")] = None,
) -> PageData[DeviceJson] | DeviceJson:
    if name is not None:
        return await by_name(caller, name)
    return await _devices(caller, wanted)


@router.get("/tenant/deviceInfos", summary="Devices, and what they belong to")
async def infos(caller: Operator, wanted: _Wanted) -> PageData[DeviceInfo]:
    return await _infos(caller, wanted)


@router.get("/deviceInfos/all", summary="Devices that the user may see, and what they belong to")
async def all_infos(caller: AnyUser, wanted: _Wanted) -> PageData[DeviceInfo]:
    return await _infos(caller, wanted)


@router.get("/customer/{customerId}/devices", summary="A customer's devices")
async def customers_page(customer_id: CustomerId, caller: AnyUser, wanted: _Wanted) -> PageData[DeviceJson]:
    caller.check(customer_id)
    return await _devices(caller, replace(wanted, customer_id=customer_id))


@router.get("/customer/{customerId}/deviceInfos", summary="A customer's devices, and what they belong to")
async def customers_infos(customer_id: CustomerId, caller: AnyUser, wanted: _Wanted) -> PageData[DeviceInfo]:
    caller.check(customer_id)
    return await _infos(caller, replace(wanted, customer_id=customer_id))


@router.get("/devices", summary="Devices with these ids")
async def by_ids(caller: AnyUser, wanted: Annotated[list[str], Query(alias="deviceIds")]) -> list[DeviceJson]:
    page = DevicePageQuery(size=_MOST_IDS, ids=ids(wanted), customer_id=caller.customer_id)
    return (await _devices(caller, page)).data


async def _devices(caller: Caller, wanted: DevicePageQuery) -> PageData[DeviceJson]:
    found = await caller.read(lambda session: devices.page(session, wanted))
    return listed(found, wanted, lambda row: device_json(caller.tenant, row))


async def _infos(caller: Caller, wanted: DevicePageQuery) -> PageData[DeviceInfo]:
    found = await caller.read(lambda session: devices.page(session, wanted))
    return listed(found, wanted, lambda row: _info(caller, row))


# Credentials.


@router.get("/device/{deviceId}/credentials", summary="What a device logs in with")
async def read_credentials(device_id: DeviceId, caller: AnyUser) -> CredentialsJson:
    def read(session: Session) -> tuple[Device, DeviceCredentials]:
        device = caller.device(session, device_id)
        return device, devices.credentials_of(session, device_id)

    device, own = await caller.read(read)
    await caller.record("device.credentials_read", device.name, SUCCESS)
    return credentials_json(device, own)


@router.post("/device/credentials", summary="Change what a device logs in with; its sessions end")
async def set_credentials(form: CredentialsForm, caller: Operator) -> CredentialsJson:
    if form.device_id is None:
        raise Refused("Device id should be specified!")
    device_id = form.device_id.id

    def change(session: Session) -> tuple[str, tuple[Device, DeviceCredentials]]:
        own, device = requested(form), devices.get(session, device_id)
        devices.set_credentials(session, device_id, own)
        return device.name, (device, own)

    device, own = await caller.change("device.credentials_updated", str(device_id), change)
    caller.api.presence.notify_session_end(device_id, SessionEnd.CREDENTIALS_CHANGED)
    return credentials_json(device, own)


def requested(form: CredentialsForm) -> DeviceCredentials:
    """Return the credentials that an operator requests. Raises Refused."""
    match form.credentials_type:
        case CredentialsType.ACCESS_TOKEN:
            return _made(lambda: credentials.access_token(form.credentials_id or ""))
        case CredentialsType.X509_CERTIFICATE:
            if not form.credentials_value:
                raise Refused("Certificate value is empty!")
            return credentials.x509(form.credentials_value)
        case CredentialsType.MQTT_BASIC:
            return _made(lambda: _mqtt_basic(form.credentials_value or ""))
        case CredentialsType.LWM2M_CREDENTIALS:
            raise Refused("LwM2M credentials are not supported!")


def _mqtt_basic(text: str) -> DeviceCredentials:
    try:
        parts = json.loads(text)
        shown = [parts.get(name) for name in ("clientId", "userName", "password")]
        for part in shown:
            (part or "").encode()  # half a surrogate pair is not text
    except (ValueError, RecursionError, AttributeError):
        raise InvalidCredentials("Invalid credentials body for simple mqtt credentials!") from None
    return credentials.mqtt_basic(*shown)


def _made(make: Callable[[], DeviceCredentials]) -> DeviceCredentials:
    try:
        return make()
    except InvalidCredentials as error:
        raise Refused(str(error)) from None
