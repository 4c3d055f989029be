"""Routes that make and change devices, and what they log in with."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Query
from sqlalchemy.orm import Session

from bench.contract.credentials import CredentialsType
from bench.contract.names import trimmed
from bench.contract.templates import Template
from bench.errors import Refused
from bench.registry import credentials, devices, names, packages, profiles, templates
from bench.registry.audit import Subject
from bench.registry.batching import Outdated
from bench.registry.credentials import DeviceCredentials, InvalidCredentials
from bench.registry.model import Credentials, Customer, Device, Profile
from bench.registry.names import Naming
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import SUCCESS, AnyAccount, AnyUser, AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.errors import Forbidden
from bench.server.http.operator.params import DeviceId, naming_query
from bench.server.http.operator.schemas.devices import (
    DEVICE_DATA,
    CredentialsForm,
    CredentialsJson,
    DeviceForm,
    DeviceJson,
    DeviceWithCredentialsForm,
)
from bench.server.http.operator.serializers import credentials_id, credentials_json, device_json, id_in
from bench.server.presence import SessionEnd

router = ApiRouter(AuthenticatedRoute, "devices")

T = TypeVar("T")

_Naming = Annotated[Naming, naming_query()]
# The member of the additional information that has values of fields.
_FIELDS = "fields"


@router.post("/device", summary="Create or change a device")
async def save(
    form: DeviceForm,
    caller: AnyUser,
    naming: _Naming,
    token: Annotated[str | None, Query(alias="accessToken", description="For a new device.")] = None,
) -> DeviceJson:
    def change(session: Session) -> tuple[Device, DeviceJson]:
        own = _made(lambda: credentials.access_token(token)) if token else None
        return _save(caller, session, form, own, naming)

    return await caller.change(f"device.{'updated' if form.id else 'added'}", form.name or "", change)


@router.post("/device-with-credentials", summary="Create or change a device and its credentials")
async def save_with_credentials(form: DeviceWithCredentialsForm, caller: Operator, naming: _Naming) -> DeviceJson:
    device_id = form.device.id

    def change(session: Session) -> tuple[Device, tuple[bool, DeviceJson]]:
        own, replaced = requested(form.credentials), False
        if device_id is not None:
            replaced = devices.set_credentials(session, devices.get(session, device_id.id).id, own)
        device, saved = _save(caller, session, form.device, own, naming)
        return device, (replaced, saved)

    what = f"device.{'updated' if device_id else 'added'}"
    replaced, saved = await caller.change(what, form.device.name or "", change)
    if device_id is not None:
        _end_session(caller, device_id.id, replaced=replaced)
    return saved


def _end_session(caller: Caller, device_id: UUID, *, replaced: bool) -> None:
    """End the session of a device whose credentials were saved; if they are as before, older releases do so, too."""
    if replaced or not caller.api.registry.release.keeps_sessions:
        caller.api.presence.notify_session_end(device_id, SessionEnd.CREDENTIALS_CHANGED)


def _save(
    caller: Caller, session: Session, form: DeviceForm, own: DeviceCredentials | None, naming: Naming
) -> tuple[Device, DeviceJson]:
    device = None if form.id is None else caller.device(session, form.id.id)
    if device is None and caller.customer_id is not None:
        raise Forbidden
    if device is not None and form.version not in {None, device.version}:
        raise Outdated("Device")
    names.check(type=form.type, label=form.label, additionalInfo=form.additional_info)
    profile, customer_id = _profile(caller, session, form), id_in(form.customer_id)
    if customer_id is not None and session.get(Customer, customer_id) is None:
        raise Refused("Can't assign device to non-existent customer!")
    if caller.customer_id is not None and customer_id not in {None, caller.customer_id}:
        raise Forbidden  # ThingsBoard lets a customer's user hand a device to another customer
    assigned = {"firmware_id": id_in(form.firmware_id), "software_id": id_in(form.software_id)}
    packages.check_assigned(session, profile.id, **assigned)
    name, template = trimmed(form.name or ""), templates.of_profile(profile)
    given, info = _given(template, form.additional_info)
    if given and caller.customer_id is not None:
        raise Forbidden  # fields are operators' to change
    columns = {
        "label": form.label,
        "additional_info": info,
        "customer_id": customer_id,
        **assigned,
        "details": {"deviceData": form.device_data} if form.device_data not in ({}, None, DEVICE_DATA) else {},
    }
    if device is None:
        fields = _described(lambda: templates.of_new_device(template, given))
        device = devices.create(session, name, profile, own=own, naming=naming, fields=fields, **columns)
    else:
        devices.rename(session, device, name, naming)
        for column, value in {**columns, "profile_id": profile.id}.items():
            setattr(device, column, value)
        if given:
            _described(lambda: templates.change_own(session, device, given))
    packages.notify_devices(session, [device.id])
    return device, device_json(caller.tenant, (device, profile.name, None))


def _given(template: Template, info: Any) -> tuple[dict[str, Any], Any]:
    """Return the values of fields that a client gives in a device's additional information, and the rest of that.

    ThingsBoard's forms have no other place for them. Where a template requires none, all of it is the client's own.
    """
    if not template.required({}) or not isinstance(info, dict) or _FIELDS not in info:
        return {}, info
    if not isinstance(info[_FIELDS], dict):
        raise Refused(f"additionalInfo.{_FIELDS} has to be an object of fields and their values")
    return info[_FIELDS], {key: value for key, value in info.items() if key != _FIELDS} or None


def _described(change: Callable[[], T]) -> T:
    """Return what a change of fields does; a refusal says where they are given."""
    try:
        return change()
    except Refused as error:
        raise Refused(f"{error}, in additionalInfo.{_FIELDS}") from None


def _profile(caller: Caller, session: Session, form: DeviceForm) -> Profile:
    if form.device_profile_id is not None:
        profile = session.get(Profile, form.device_profile_id.id)
        if profile is None:
            raise Refused("Device is referencing non existing device profile!")
        return profile
    if not form.type:
        return profiles.default(session)
    return profiles.by_name(session, form.type) if caller.customer_id else profiles.find_or_create(session, form.type)


# Credentials.


@router.get("/device/{deviceId}/credentials", summary="What a device logs in with")
async def read_credentials(device_id: DeviceId, caller: AnyAccount) -> CredentialsJson:
    def read(session: Session) -> tuple[Device, CredentialsJson]:
        device = caller.device(session, device_id)
        return device, _credentials_json(session, device)

    device, own = await caller.read(read)
    await caller.record("device.credentials_read", Subject.of(device), SUCCESS)
    return own


def _credentials_json(session: Session, device: Device) -> CredentialsJson:
    own = devices.credentials_of(session, device.id)
    return credentials_json(device, own, session.get_one(Credentials, device.id).version)


@router.post("/device/credentials", summary="Change what a device logs in with; its sessions end")
async def set_credentials(form: CredentialsForm, caller: Operator) -> CredentialsJson:
    if form.device_id is None:
        raise Refused("Device id should be specified!")
    device_id = form.device_id.id

    def change(session: Session) -> tuple[Device, tuple[bool, CredentialsJson]]:
        own, device = requested(form), devices.get(session, device_id)
        if form.id is None:
            raise Refused("Credentials for this device are already specified!")
        if form.id != credentials_id(device_id):
            raise Refused("Unable to update non-existent device credentials!")
        if form.version not in {None, session.get_one(Credentials, device_id).version}:
            raise Outdated("Device credentials")
        replaced = devices.set_credentials(session, device_id, own)
        session.flush()
        return device, (replaced, _credentials_json(session, device))

    replaced, saved = await caller.change("device.credentials_updated", device_id, change)
    _end_session(caller, device_id, replaced=replaced)
    return saved


def requested(form: CredentialsForm) -> DeviceCredentials:
    """Return the credentials that an operator requests. Raises Refused."""
    value = form.credentials_value or ""
    match form.credentials_type:
        case CredentialsType.ACCESS_TOKEN:
            return _made(lambda: credentials.access_token(form.credentials_id or ""))
        case CredentialsType.X509_CERTIFICATE:
            if not value:
                raise Refused("Certificate value is empty!")
            return credentials.x509(value)
        case CredentialsType.MQTT_BASIC:
            return _made(lambda: credentials.mqtt_basic_of(value))
        case CredentialsType.LWM2M_CREDENTIALS:
            return _made(lambda: credentials.lwm2m(value))


def _made(make: Callable[[], DeviceCredentials]) -> DeviceCredentials:
    try:
        return make()
    except InvalidCredentials as error:
        raise Refused(str(error)) from None
