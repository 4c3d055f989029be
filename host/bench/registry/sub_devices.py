"""The devices behind gateways: which device a gateway means by a name, and which it must not have.

ThingsBoard lets a gateway have any device of its tenant by name. Here it has those that it made, and those that came
through a gateway before; and a customer's gateway only devices of that customer. So whoever holds a gateway's token
can neither write for a device that logs in by itself, nor be called in its place, nor end its sessions.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import (
    audit,
    credentials,
    devices,
    hook_events,
    lifecycle,
    names,
    packages,
    profile_hooks,
    profiles,
    provisioning,
    tombstones,
)
from bench.registry.audit import Origin, Subject
from bench.registry.encryption import WrongKey
from bench.registry.event_kinds import HookEvent
from bench.registry.logins import KnownDevice
from bench.registry.model import Credentials, Device, Profile
from bench.registry.profile_hooks import ProfileHook

_NewDevice = tuple[dict[str, Any], dict[str, Any]]

LAST_GATEWAY = "lastConnectedGateway"
MADE = 10_000
"""Devices that one gateway makes."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A device that a gateway means."""

    profile: str
    """The name of its profile, if it is made."""
    needs_approval: bool = False
    """True if the server has a hook that is to decide first."""
    is_approved: bool = False
    """True once a hook has approved it."""


@dataclass(frozen=True)
class Undecided:
    """A device that is not made before a hook has decided: its profile's own, or for None the server's."""

    hook: ProfileHook | None


class TooMany(Refused):
    """A gateway has as many devices as it may have."""


def find(session: Session, gateway_id: uuid.UUID, wanted: Iterable[str]) -> dict[str, KnownDevice]:
    """Return the devices of these names that came through this gateway the last time, as most do."""
    gateway = devices.get(session, gateway_id)
    return {
        device.name: KnownDevice(device.id, device.name)
        for device in _named(session, wanted)
        if _last_gateway(device) == str(gateway_id)
        and _is_of_customer(gateway, device)
        and lifecycle.may_provision(device)
    }


def connect(
    session: Session, gateway_id: uuid.UUID, wanted: Mapping[str, Wanted], origin: Origin
) -> dict[str, KnownDevice | Refused | Undecided]:
    """Return the devices of these names, made if there are none; or why the gateway must not have them.

    A new device belongs to the gateway's customer.

    Args:
        session: In a transaction that may write.
        gateway_id: The gateway.
        wanted: The devices by their names. Profiles of new ones are made likewise, as ThingsBoard 4.3 does.
        origin: For the audit trail, which has a row for each new device.

    Raises:
        NotFound: The gateway was deleted.
    """
    gateway = devices.get(session, gateway_id)
    known = {device.name: device for device in _named(session, wanted)}
    left = None if len(known) == len(wanted) else MADE - _count(session, gateway)
    new: list[_NewDevice] = []
    found: dict[str, KnownDevice | Refused | Undecided] = {}
    for name, each in wanted.items():
        try:
            if (device := known.get(name)) is None:
                if left == len(new):
                    raise TooMany(f"a gateway makes at most {MADE} devices")
                _check_new(session, name, each.profile)
                if (undecided := _undecided(session, each)) is not None:
                    found[name] = undecided
                    continue
                new.append(made := _make(session, gateway, name, each.profile))
                found[name] = KnownDevice(made[0]["id"], name)
            else:
                _check(gateway, device)
                lifecycle.prove(session.connection(), [device.id])
                if _last_gateway(device) != str(gateway.id):
                    device.additional_info = {**_info(device), LAST_GATEWAY: str(gateway.id)}
                found[name] = KnownDevice(device.id, name)
        except Refused as error:
            found[name] = error
    _store(session, gateway, new, origin)
    return found


def _named(session: Session, wanted: Iterable[str]) -> Iterable[Device]:
    texts = [name for name in wanted if names.is_valid(name)]
    return session.scalars(select(Device).where(Device.name.in_(texts)))


def _count(session: Session, gateway: Device) -> int:
    return session.scalar(select(func.count()).select_from(Device).where(Device.gateway_id == gateway.id)) or 0


def _check_new(session: Session, name: str, profile: str) -> None:
    """Raise Refused for a device that nobody may have."""
    if not names.is_valid(name) or not name.strip():  # before its profile is made
        raise Refused("no device may have this name")
    names.check(type=profile)
    if tombstones.found(session.connection(), tombstones.digests(session.info["secret_box"], name)):
        raise Refused("the device of this name was decommissioned")


def _undecided(session: Session, wanted: Wanted) -> Undecided | None:
    """Return who is to decide about a new device first, None if nobody is."""
    if wanted.is_approved:
        return None
    profile = session.scalar(select(Profile).where(Profile.name == wanted.profile))
    try:
        hook = profile_hooks.decrypted(session.info["secret_box"], profile) if profile else None
    except WrongKey:
        raise Refused("its profile's hook was written by somebody else") from None
    return Undecided(hook) if hook is not None or wanted.needs_approval else None


def _make(session: Session, gateway: Device, name: str, profile: str) -> _NewDevice:
    """Return a new device's row, and that of its credentials: a random token, as ThingsBoard makes."""
    profile_id = profiles.find_or_create(session, profile).id
    own = credentials.access_token(names.random_text())
    device, secret = provisioning.new_device_rows(session.info["secret_box"], name=name, profile_id=profile_id, own=own)
    info = {LAST_GATEWAY: str(gateway.id)}
    return {**device, "customer_id": gateway.customer_id, "additional_info": info, "gateway_id": gateway.id}, secret


def _store(session: Session, gateway: Device, new: Sequence[_NewDevice], origin: Origin) -> None:
    if not new:
        return
    connection = session.connection()
    session.flush()  # their profiles come first
    connection.execute(insert(Device.__table__), [device for device, _ in new])  # type: ignore[arg-type]
    connection.execute(insert(Credentials.__table__), [secret for _, secret in new])  # type: ignore[arg-type]
    hook_events.note(connection, HookEvent.CREATED, (device["id"] for device, _ in new))
    subjects = [Subject(device["name"], device["id"], gateway.customer_id) for device, _ in new]
    rows = [audit.entry(origin, what="device.added", entity=each, result=audit.SUCCESS) for each in subjects]
    audit.record(connection, rows)
    packages.notify_devices(session, [device["id"] for device, _ in new])


def _check(gateway: Device, device: Device) -> None:
    """Raise Refused if a gateway must not have a device."""
    if not lifecycle.may_provision(device):
        raise Refused("the device is deactivated")
    if device.gateway_id != gateway.id and _last_gateway(device) is None:
        raise Refused("the device never came through a gateway")
    if not _is_of_customer(gateway, device):
        raise Refused("the device is not the customer's whose gateway it is")


def _is_of_customer(gateway: Device, device: Device) -> bool:
    return gateway.customer_id in {None, device.customer_id}


def _last_gateway(device: Device) -> Any:
    return _info(device).get(LAST_GATEWAY)


def _info(device: Device) -> dict[str, Any]:
    return device.additional_info if isinstance(device.additional_info, dict) else {}
