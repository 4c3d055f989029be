"""Devices, as operators make and see them. Functions run in a transaction: `registry.write(devices.create, ...)`."""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused
from bench.registry import credentials, provisioning
from bench.registry.credentials import DeviceCredentials
from bench.registry.model import Credentials, Device, Profile
from bench.registry.seal import Seal

SORTS = {"name": Device.name, "createdTime": Device.created_ms, "label": Device.label, "type": Profile.name}


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which devices of a list are wanted: page `number`, from 0, of those that fit."""

    size: int
    number: int = 0
    search: str = ""
    sort: str = "createdTime"
    descending: bool = True
    profile_id: uuid.UUID | None = None
    customer_id: uuid.UUID | None = None


def create(session: Session, name: str, profile: Profile, *, own: DeviceCredentials | None = None) -> Device:
    """A device made ahead of its first boot; with a random access token unless told otherwise. Raises Refused."""
    seal: Seal = session.info["seal"]
    name = name.strip(provisioning.TRIMMED)  # as a device's request is
    if not provisioning.valid_name(name):
        raise Refused("Device name should be specified, have at most 255 characters and no markup in it!")
    if session.scalar(select(Device.id).where(Device.name == name)):
        raise Refused("Device with such name already exists!")
    own = own or credentials.access_token(provisioning.random_text())
    _check_free(session, own, None)
    row, secret = provisioning.new_device_rows(seal, name=name, profile_id=profile.id, own=own)
    device = Device(**row)
    session.add(device)
    session.flush()
    session.add(Credentials(**secret))
    session.flush()
    return device


def by_name(session: Session, name: str) -> Device:
    """The device of this name. Raises NotFound."""
    found = session.scalar(select(Device).where(Device.name == name))
    if found is None:
        raise NotFound(f"no device {name}: see bench device list")
    return found


def page(session: Session, wanted: Page) -> tuple[list[tuple[Device, str]], int]:
    """A page of devices with their profiles' names, and how many there are in all."""
    statement = select(Device, Profile.name).join(Profile, Profile.id == Device.profile_id)
    if wanted.search:
        literal = wanted.search.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        columns = (Device.name, Device.label, Profile.name)
        statement = statement.where(or_(*(func.lower(each).like(f"%{literal}%", escape="\\") for each in columns)))
    if wanted.profile_id is not None:
        statement = statement.where(Device.profile_id == wanted.profile_id)
    if wanted.customer_id is not None:
        statement = statement.where(Device.customer_id == wanted.customer_id)
    total = session.scalar(select(func.count()).select_from(statement.subquery())) or 0
    column = SORTS[wanted.sort]
    order = (column.desc() if wanted.descending else column.asc(), Device.id)
    rows = session.execute(statement.order_by(*order).limit(wanted.size).offset(wanted.number * wanted.size))
    return [(device, profile) for device, profile in rows], total


def credentials_of(session: Session, device_id: uuid.UUID) -> DeviceCredentials:
    """What a device logs in with, as it is."""
    row = session.get_one(Credentials, device_id)
    return credentials.unseal(session.info["seal"], row)


def set_credentials(session: Session, device_id: uuid.UUID, own: DeviceCredentials) -> None:
    """Replace what a device logs in with. Raises Refused if another device has it."""
    _check_free(session, own, device_id)
    row: Any = session.get_one(Credentials, device_id)
    for column, value in credentials.row(session.info["seal"], own).items():
        setattr(row, column, value)


def delete(session: Session, device: Device) -> None:
    """Delete a device and all that belongs to it."""
    session.delete(device)


def _check_free(session: Session, own: DeviceCredentials, device_id: uuid.UUID | None) -> None:
    lookup = session.info["seal"].digest(own.id)
    other = session.scalar(select(Credentials.device_id).where(Credentials.lookup == lookup))
    if other is not None and other != device_id:
        raise Refused("Device credentials are already assigned to another device!")
