"""The life of a device: how far it has come, whether it may log in, and what it is doing.

A step has a time, which is set once, and the state is the last step with a time: so it never goes back, and nothing
can contradict it. Steps follow by themselves:

- *defined*: the record was created. A random token that comes with it, as ThingsBoard makes one, counts for nothing.
- *activated*: credentials were issued: an operator chose some, or the device got them, or brought its own.
- *provisioned*: the device itself proved it, by a provisioning exchange or by its first login; of one behind a gateway,
  the gateway's first word of it.
- *associated*: a customer claimed it. An operator who hands it to a customer changes nothing.
"""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, func, select, update
from sqlalchemy.orm import Session, object_session

from bench.errors import Refused
from bench.registry import announcements, audit, tombstones, withdrawals
from bench.registry.announcements import Kind
from bench.registry.clock import now_ms
from bench.registry.device_states import Access, ProvisioningState, Status
from bench.registry.model import CLIENT_SCOPE, Attribute, Device

STATUS_ATTRIBUTE = "status"
"""The client attribute by which a device reports its status: it counts while the device is online."""

_STEPS = (
    (Device.associated_ms, ProvisioningState.ASSOCIATED),
    (Device.provisioned_ms, ProvisioningState.PROVISIONED),
    (Device.activated_ms, ProvisioningState.ACTIVATED),
)
_reported = (
    select(Attribute.value)
    .where(
        Attribute.device_id == Device.id,
        Attribute.scope == CLIENT_SCOPE,
        Attribute.key == STATUS_ATTRIBUTE,
        Attribute.value.in_([json.dumps(each.value) for each in Status]),
    )
    .correlate(Device)
    .scalar_subquery()
)

PROVISIONING_STATE: Any = case(
    *((column.is_not(None), state.value) for column, state in _STEPS), else_=ProvisioningState.DEFINED.value
)
ACCESS: Any = case(
    (Device.decommissioned_ms.is_not(None), Access.DECOMMISSIONED.value),
    (Device.deactivated_ms.is_not(None), Access.DEACTIVATED.value),
    else_=Access.ACTIVE.value,
)
STATUS: Any = case(
    (Device.provisioned_ms.is_(None), Status.PROVISIONING.value),
    (Device.is_online.is_(False), Status.OFFLINE.value),
    else_=func.coalesce(func.replace(_reported, '"', ""), Status.ONLINE.value),
)
"""These three as SQL, of rows of `device`."""


def times(state: ProvisioningState, at_ms: int) -> dict[str, int | None]:
    """Return the columns of a new device that has come so far already."""
    activated = state is not ProvisioningState.DEFINED
    provisioned = activated and state is not ProvisioningState.ACTIVATED
    return {"activated_ms": at_ms if activated else None, "provisioned_ms": at_ms if provisioned else None}


def provisioning_state(device: Device) -> ProvisioningState:
    """Return how far a device has come."""
    reached = (state for column, state in _STEPS if getattr(device, column.key) is not None)
    return next(reached, ProvisioningState.DEFINED)


def access(device: Device) -> Access:
    """Return whether a device may log in."""
    if device.decommissioned_ms is not None:
        return Access.DECOMMISSIONED
    return Access.ACTIVE if device.deactivated_ms is None else Access.DEACTIVATED


def statuses(session: Session, device_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return what devices are doing."""
    rows = session.execute(select(Device.id, STATUS.label("status")).where(Device.id.in_(device_ids)))
    return {row.id: row.status for row in rows}


# Steps.


# Statements, and not a change of the object: whoever saves the device at the same time has missed nothing.


def credentials_issued(connection: Connection, device_id: uuid.UUID) -> None:
    """Note that a device's credentials were chosen by somebody, or given to somebody."""
    first = and_(Device.id == device_id, Device.activated_ms.is_(None))
    connection.execute(update(Device).where(first).values(activated_ms=now_ms()))


def associated(device: Device) -> None:
    """Note that a customer claimed a device."""
    device.associated_ms = device.associated_ms or now_ms()


def prove(connection: Connection, device_ids: Sequence[uuid.UUID]) -> list[None]:
    """Note that devices proved themselves (a batch function)."""
    if device_ids:
        now = now_ms()
        first = and_(Device.id.in_(device_ids), Device.provisioned_ms.is_(None))
        values = {"provisioned_ms": now, "activated_ms": func.coalesce(Device.activated_ms, now)}
        connection.execute(update(Device).where(first).values(values))
    return [None] * len(device_ids)


def save_online(connection: Connection, changes: Sequence[tuple[uuid.UUID, bool]]) -> list[None]:
    """Store which devices are online, or not any more (a batch function)."""
    last = dict(changes)
    for online in (True, False):
        some = [device_id for device_id, each in last.items() if each is online]
        if some:
            changed = and_(Device.id.in_(some), Device.is_online.is_not(online))
            connection.execute(update(Device).where(changed).values(is_online=online))
    return [None] * len(changes)


# Access.


def may_provision(device: Any) -> bool:
    """Return whether a device, or a row of one, may provision, be renewed, or come through a gateway."""
    return device.deactivated_ms is None and device.decommissioned_ms is None


def check_not_decommissioned(device: Device) -> None:
    """Raise Refused for a device that was decommissioned."""
    if device.decommissioned_ms is not None:
        raise Refused(f"Device {device.name} was decommissioned, which is for ever!")


def deactivate(device: Device) -> bool:
    """Have a device neither log in nor provision; return False if that is so. Raises Refused after decommissioning."""
    check_not_decommissioned(device)
    if device.deactivated_ms is not None:
        return False
    withdrawals.withdraw(device)
    device.deactivated_ms = now_ms()
    _announce(device)
    return True


def activate(device: Device) -> bool:
    """Let a device in again; return False if it is let in. Raises Refused after decommissioning."""
    check_not_decommissioned(device)
    if device.deactivated_ms is None:
        return False
    device.deactivated_ms = None
    return True


def decommission(session: Session, device: Device) -> bool:
    """Have nobody use a device's name and credentials again, not even after it is deleted.

    From now on it is let in for one thing: the order to wipe itself. `wiped` ends that.

    Returns:
        False if it is decommissioned already.
    """
    if device.decommissioned_ms is not None:
        return False
    tombstones.bury(session, device)  # before its row is locked: a renewal locks its credentials first
    withdrawals.withdraw(device)
    device.decommissioned_ms = now_ms()
    # one behind a gateway has nothing of its own to wipe
    device.deactivated_ms = None if device.gateway_id is None else device.decommissioned_ms
    _announce(device)
    return True


def _announce(device: Device) -> None:
    session = object_session(device)
    assert session
    announcements.announce(session.connection(), Kind.DEACTIVATED, device.id)


def wiped(session: Session, device_id: uuid.UUID, audited: dict[str, Any]) -> bool:
    """Note that a decommissioned device was ordered to wipe itself: its credentials are worth nothing now.

    Args:
        session: In a transaction that may write.
        device_id: The device.
        audited: A row for the audit trail, which is stored if this is the first word of it.

    Returns:
        False if it is known already.
    """
    waiting = and_(Device.id == device_id, Device.decommissioned_ms.is_not(None), Device.deactivated_ms.is_(None))
    connection = session.connection()
    first = bool(connection.execute(update(Device).where(waiting).values(deactivated_ms=now_ms())).rowcount)
    audit.record(connection, [audited] if first else [])
    return first


def is_wipe_pending(device: Device) -> bool:
    """Return whether a decommissioned device was not yet seen to obey the order to wipe itself."""
    return device.decommissioned_ms is not None and device.deactivated_ms is None
