"""Devices, as operators make and see them. Functions run in a transaction: `registry.write(devices.create, ...)`."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused, UnknownId
from bench.registry import (
    announcements,
    credentials,
    hook_events,
    lifecycle,
    names,
    packages,
    pages,
    provisioning,
    relations,
    tombstones,
    withdrawals,
)
from bench.registry.announcements import Kind
from bench.registry.credentials import DeviceCredentials, InvalidCredentials, RefusedCredentials
from bench.registry.device_states import ProvisioningState
from bench.registry.event_kinds import HookEvent
from bench.registry.model import Credentials, Customer, Device, Profile
from bench.registry.names import Naming
from bench.registry.pages import PageQuery

SORTS = {
    "createdTime": Device.created_ms,
    "name": Device.name,
    "label": Device.label,
    "type": Profile.name,
    "deviceProfileName": Profile.name,
    "customerTitle": Customer.title,
}
_REFUSING = Naming()
_WITH_NAMES = (
    select(Device, Profile.name, Customer.title)
    .join(Profile, Profile.id == Device.profile_id)
    .outerjoin(Customer, Customer.id == Device.customer_id)
)


@dataclass(frozen=True, kw_only=True)
class DevicePageQuery(PageQuery):
    """The part of a list of devices that is wanted."""

    profile_id: uuid.UUID | None = None
    profile_name: str | None = None
    customer_id: uuid.UUID | None = None
    ids: Sequence[uuid.UUID] | None = None
    connected: Sequence[uuid.UUID] | None = None
    """The devices that have a session; with `active` only these are wanted, otherwise only the others."""
    active: bool = False
    conditions: Sequence[ColumnElement[bool]] = ()
    """Further conditions, and `order` instead of `sort`."""
    order: Sequence[Any] = ()


def create(
    session: Session,
    name: str,
    profile: Profile,
    *,
    own: DeviceCredentials | None = None,
    naming: Naming = _REFUSING,
    **fields: Any,
) -> Device:
    """Store a device ahead of its first boot.

    Args:
        session: In a transaction that may write.
        name: As it is; ThingsBoard trims it in some places.
        profile: Its profile.
        own: Its credentials; without any it gets a random access token.
        naming: What becomes of a name that is taken.
        fields: Further columns.

    Raises:
        Refused: The name is invalid or taken, or another device has these credentials, or had them until it was
            decommissioned.
    """
    name = _free_name(session, name, None, naming)
    state = ProvisioningState.DEFINED if own is None else ProvisioningState.ACTIVATED
    own = own or credentials.access_token(names.random_text())
    check_credentials(session, own, None)
    row, secret = provisioning.new_device_rows(
        session.info["secret_box"], name=name, profile_id=profile.id, own=own, state=state
    )
    device = Device(**{**row, **fields})
    session.add(device)
    session.flush()
    session.add(Credentials(**secret))
    session.flush()
    hook_events.note(session.connection(), HookEvent.CREATED, [device.id])
    if packages.has_any(profile):
        packages.notify_devices(session, [device.id])
    return device


def rename(session: Session, device: Device, name: str, naming: Naming = _REFUSING) -> None:
    """Give a device another name. Raises Refused for one that is invalid or taken."""
    free = _free_name(session, name, device.id, naming)
    if free != device.name:
        withdrawals.withdraw(device)
        device.name = free


def set_serial_number(device: Device, serial_number: str | None) -> None:
    """Set the maker's number of a device, or none. Raises Refused for one that is too long or has markup in it."""
    names.check(serialNumber=serial_number)
    device.serial_number = serial_number or None


def get(session: Session, device_id: uuid.UUID) -> Device:
    """Return the device with this id. Raises NotFound."""
    found = session.get(Device, device_id)
    if found is None:
        raise UnknownId("Device", device_id)
    return found


def by_name(session: Session, name: str) -> Device:
    """Return the device of this name. Raises NotFound."""
    found = session.scalar(select(Device).where(Device.name == name))
    if found is None:
        raise NotFound(f"no device {name}: see bench device list")
    return found


def page(session: Session, wanted: DevicePageQuery) -> tuple[Sequence[tuple[Device, str, str | None]], int]:
    """Return a page of devices, with their profiles' names and customers' titles, and the number of them in all."""
    statement = _WITH_NAMES
    if wanted.profile_id is not None:
        statement = statement.where(Device.profile_id == wanted.profile_id)
    if wanted.profile_name is not None:
        statement = statement.where(Profile.name == wanted.profile_name)
    if wanted.customer_id is not None:
        statement = statement.where(Device.customer_id == wanted.customer_id)
    if wanted.ids is not None:
        statement = statement.where(Device.id.in_(wanted.ids))
    if wanted.connected is not None:
        # in the text of the statement: there may be more of them than a statement has parameters
        among = Device.id.in_(bindparam("connected", wanted.connected, expanding=True, literal_execute=True))
        statement = statement.where(among if wanted.active else ~among)
    statement = statement.where(*wanted.conditions)
    sorts = {**SORTS, wanted.sort: wanted.order} if wanted.order else SORTS
    searched = (Device.name, Device.label, Profile.name, Device.serial_number)
    return pages.page(session, statement, wanted, sorts=sorts, searched=searched, key=Device.id)


def count(session: Session, wanted: DevicePageQuery) -> int:
    """Return the number of devices in all pages of a list."""
    return page(session, wanted)[1]


def with_names(session: Session, device: Device) -> tuple[Device, str, str | None]:
    """Return a device with its profile's name and its customer's title."""
    found, profile, customer = session.execute(_WITH_NAMES.where(Device.id == device.id)).one()
    return found, profile, customer


def credentials_of(session: Session, device_id: uuid.UUID) -> DeviceCredentials:
    """Return a device's credentials in plain text."""
    row = session.get_one(Credentials, device_id)
    return credentials.from_row(session.info["secret_box"], row)


def set_credentials(session: Session, device_id: uuid.UUID, own: DeviceCredentials) -> bool:
    """Replace a device's credentials, unless it has them already.

    Raises:
        RefusedCredentials: Another device has them, or this release takes no such characters.
    """
    lifecycle.check_not_decommissioned(session.get_one(Device, device_id))
    check_credentials(session, own, device_id)
    row: Any = session.get_one(Credentials, device_id, with_for_update=True)  # a certificate may replace it now
    if credentials.from_row(session.info["secret_box"], row) == own:
        return False
    withdrawals.withdraw(session.get_one(Device, device_id))
    for column, value in credentials.row(session.info["secret_box"], device_id, own).items():
        setattr(row, column, value)
    announcements.announce(session.connection(), Kind.CREDENTIALS, device_id)
    lifecycle.credentials_issued(session.connection(), device_id)
    return True


def delete(session: Session, device: Device) -> None:
    """Delete a device and all that belongs to it."""
    withdrawals.withdraw(device)
    session.delete(device)
    announcements.announce(session.connection(), Kind.DELETED, device.id)
    relations.remove_all(session, [device.id])


def _free_name(session: Session, name: str, device_id: uuid.UUID | None, naming: Naming) -> str:
    if not name.strip():
        raise Refused("Device name should be specified!")
    names.check(name=name)
    if not names.is_valid(name):
        raise Refused("Validation error: name is malformed")
    others = select(Device.name).where(naming.rivals(Device.name, name))
    if device_id is not None:
        others = others.where(Device.id != device_id)
    with session.no_autoflush:
        taken = set(session.scalars(others))
        free = naming.resolve(name, taken, "Device with such name already exists!")
        if tombstones.found(session.connection(), tombstones.digests(session.info["secret_box"], free)):
            raise Refused("The device of this name was decommissioned: no other gets its name!")
    return free


def check_credentials(session: Session, own: DeviceCredentials, device_id: uuid.UUID | None) -> None:
    """Raise RefusedCredentials for what another device than this one has, or no device may have."""
    try:
        own.check(session.info["release"])
    except InvalidCredentials as error:
        raise RefusedCredentials(str(error)) from None
    lookup = session.info["secret_box"].digest(own.id)
    other = session.scalar(select(Credentials.device_id).where(Credentials.lookup == lookup))
    if other is not None and other != device_id:
        raise RefusedCredentials("Device credentials are already assigned to another device!")
    buried = tombstones.found(session.connection(), tombstones.digests(session.info["secret_box"], "", own))
    if buried:
        raise RefusedCredentials("Device credentials are those of a device that was decommissioned!")
