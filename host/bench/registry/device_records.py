"""Devices as a whole, a page at a time: what an export has of each."""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.contract.templates import Template, Value
from bench.registry import credentials, devices, lifecycle, templates
from bench.registry.credentials import DeviceCredentials
from bench.registry.device_states import Access
from bench.registry.devices import DevicePageQuery
from bench.registry.model import CLIENT_SCOPE, SERVER_SCOPE, SHARED_SCOPE, Attribute, Credentials, Device, Profile

SIZE = 16 << 20
"""Characters of the attributes in a page; that of a single device may have more."""
_SCOPES = (SERVER_SCOPE, SHARED_SCOPE, CLIENT_SCOPE)


@dataclass(frozen=True, kw_only=True)
class DeviceRecord:
    """A device with all that another server can be given. Its credentials are secret."""

    device: Device
    profile: str
    customer: str | None
    access: Access
    fields: dict[str, Value]
    """Its own values of the fields that its profile's template has."""
    credentials: DeviceCredentials | None
    """None if they were not asked for."""
    attributes: dict[str, dict[str, Any]]
    """By scope, all of which are there."""


def page(
    session: Session, wanted: DevicePageQuery, *, after: str = "", with_credentials: bool = False
) -> tuple[list[DeviceRecord], int]:
    """Return devices by their names, and the number of those that are left, these among them.

    Args:
        session: The transaction.
        wanted: The devices, and how many at most; there are fewer where they are large.
        after: The name that theirs come after; empty: from the first one.
        with_credentials: Their credentials, too.
    """
    later = [Device.name > after] if after else []
    query = DevicePageQuery(**{**vars(wanted), "conditions": [*wanted.conditions, *later], "sort": "name"})
    found, left = devices.page(session, query)
    rows = list(_within(found, _sizes(session, [device.id for device, _, _ in found])))
    ids = [device.id for device, _, _ in rows]
    inherited = _templates(session, {device.profile_id for device, _, _ in rows})
    secrets = _credentials(session, ids) if with_credentials else {}
    attributes = _attributes(session, ids)
    records = [
        DeviceRecord(
            device=device,
            profile=profile,
            customer=customer,
            access=lifecycle.access(device),
            fields=templates.shown(inherited[device.profile_id], device),
            credentials=secrets.get(device.id),
            attributes=attributes[device.id],
        )
        for device, profile, customer in rows
    ]
    return records, left


def _within(
    rows: Sequence[tuple[Device, str, str | None]], sizes: dict[uuid.UUID, int]
) -> Iterator[tuple[Device, str, str | None]]:
    """Yield the first rows, at least one, as many as fit into a page."""
    size = 0
    for number, row in enumerate(rows):
        size += sizes.get(row[0].id, 0)
        if number and size > SIZE:
            return
        yield row


def _sizes(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Return the characters of devices' attributes: all of those may be more than there is memory for."""
    size = func.sum(func.length(Attribute.key) + func.length(Attribute.value))
    found = select(Attribute.device_id, size).where(Attribute.device_id.in_(ids)).group_by(Attribute.device_id)
    return {device_id: int(count) for device_id, count in session.execute(found)}


def _templates(session: Session, ids: set[uuid.UUID]) -> dict[uuid.UUID, Template]:
    return {each.id: templates.of_profile(each) for each in session.scalars(select(Profile).where(Profile.id.in_(ids)))}


def _credentials(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, DeviceCredentials]:
    rows = session.scalars(select(Credentials).where(Credentials.device_id.in_(ids)))
    return {each.device_id: credentials.from_row(session.info["secret_box"], each) for each in rows}


def _attributes(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, dict[str, Any]]]:
    found: dict[uuid.UUID, dict[str, dict[str, Any]]] = {each: {scope: {} for scope in _SCOPES} for each in ids}
    columns = select(Attribute.device_id, Attribute.scope, Attribute.key, Attribute.value)
    for device_id, scope, key, value in session.execute(columns.where(Attribute.device_id.in_(ids))):
        found[device_id][scope][key] = json.loads(value)
    return found
