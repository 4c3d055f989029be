"""Provisioning again: a wiped device that proves its own key gets its device back, if its profile says so.

Each proof is good once. The nonce in it says when it was made, and each device knows from when on nonces are good for
it: the time of its last proof. So a replay is told on all servers of a database, and nothing else has to be stored.

These requests are decided one after the other, as operators' changes are.
"""

import json
import uuid
from dataclasses import replace
from enum import StrEnum

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from bench.registry import audit, credentials, devices, group_keys, lifecycle, names, packages, provisioning
from bench.registry.audit import Origin, Subject
from bench.registry.clock import now_ms
from bench.registry.credentials import DeviceCredentials, RefusedCredentials
from bench.registry.device_secrets import Nonces
from bench.registry.encryption import WrongKey
from bench.registry.model import SERVER_SCOPE, Attribute, Credentials, Device, Profile
from bench.registry.provision_type import Again, ProvisionType
from bench.registry.provisioning import FAILURE, PreparedRequest, ProvisionOutcome, ProvisionRequest, Status

RECENT_S = 30.0
"""Seconds after a request for which a device without a session counts as online: its proof would be a clone's."""
# What another server stores of that is so old.
_STORED_S = 5.0
_DELETED = "device.deleted"
_CREDENTIALS_UPDATED = "device.credentials_updated"


class Refusal(StrEnum):
    """The reason why a device does not get its device back: for the journal and the trail, never for the device."""

    POLICY = "policy"
    """The profile's policy, key or strategy is another one by now, or the device is gone."""
    OTHER_PROFILE = "other_profile"
    SUB_DEVICE = "sub_device"
    """It belongs to a gateway, which logs in for it."""
    DECOMMISSIONED = "decommissioned"
    DEACTIVATED = "deactivated"
    CLONE_ONLINE = "clone_online"
    """The device is online: whoever asks has a copy of its key."""
    REPLAYED = provisioning.REPLAYED
    CREDENTIALS = "credentials"
    """They break a rule of their type, or are another device's."""


class _Refused(Exception):
    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.why = why


def decide(
    session: Session,
    nonces: Nonces,
    request: ProvisionRequest,
    origin: Origin,
    online_here: bool | None,  # noqa: FBT001 - what is known
) -> ProvisionOutcome:
    """Decide a request for a device that is there, with a row in the audit trail (unless its origin says otherwise).

    Args:
        session: In a transaction that may write.
        nonces: Checks the nonces of proofs.
        request: The request, with a proof.
        origin: Its origin.
        online_here: Whether the device has a session or an open poll, or was heard a moment ago, as far as this server
            knows; None leaves that to what is stored.

    Returns:
        The outcome: SUCCESS, or FAILURE and why.
    """
    prepared = PreparedRequest(session.info["secret_box"], session.info["release"], request)
    device = session.scalar(select(Device).where(Device.name == prepared.name))
    subject = Subject(prepared.name) if device is None else Subject.of(device)
    try:
        outcome = _decide(session, nonces, prepared, device, origin, online_here=online_here)
    except _Refused as refused:
        outcome = replace(FAILURE, device_name=prepared.name, why=refused.why.value)
    if outcome.status is Status.SUCCESS or origin.keeps_refusal:
        _record(session, origin, provisioning.WHAT, _now(session, subject), outcome.result)
    return outcome


def _decide(  # noqa: PLR0913 - all that a decision needs
    session: Session,
    nonces: Nonces,
    prepared: PreparedRequest,
    device: Device | None,
    origin: Origin,
    *,
    online_here: bool | None,
) -> ProvisionOutcome:
    request = prepared.request
    profile = session.scalar(select(Profile).where(Profile.provision_key == request.key))
    if device is None or profile is None or not _is_proven(session, nonces, profile, prepared):
        raise _Refused(Refusal.POLICY)
    _check(profile, device)
    if _is_online_elsewhere(session, device) if online_here is None else online_here:
        raise _Refused(Refusal.CLONE_ONLINE)
    session.get_one(Credentials, device.id, with_for_update=True)  # before the device, as everywhere
    if not _spend(session, nonces, device.id, request.nonce):
        raise _Refused(Refusal.REPLAYED)
    if not prepared.valid:
        raise _Refused(Refusal.CREDENTIALS)
    try:
        if profile.again == Again.RESET:
            return _reset(session, device, prepared.own, origin)
        own = prepared.own
        if profile.provision_type == ProvisionType.CHECK_PRE_PROVISIONED_DEVICES:
            own = devices.credentials_of(session, device.id)  # made ahead, whatever the device would like
        return _keep(session, device, own, origin)
    except (RefusedCredentials, WrongKey):
        raise _Refused(Refusal.CREDENTIALS) from None


def _is_online_elsewhere(session: Session, device: Device) -> bool:
    """Return whether another server has a session of a device, or had a request of it lately, as far as is stored."""
    keys = ("lastConnectTime", "lastDisconnectTime", "lastActivityTime")
    stored = select(Attribute.key, Attribute.value).where(
        Attribute.device_id == device.id, Attribute.scope == SERVER_SCOPE, Attribute.key.in_(keys)
    )
    times = {row.key: found for row in session.execute(stored) if isinstance(found := json.loads(row.value), int)}
    connected, disconnected, last = (times.get(key, 0) for key in keys)
    return device.is_online and (connected > disconnected or now_ms() - last < (RECENT_S + _STORED_S) * 1000)


def _is_proven(session: Session, nonces: Nonces, profile: Profile, prepared: PreparedRequest) -> bool:
    """Return whether a request is proven, and its profile lets devices provision again: both may have changed."""
    group_key = group_keys.of(session, profile)
    strategies = {ProvisionType.ALLOW_CREATE_NEW_DEVICES}
    if profile.again == Again.KEEP:
        strategies.add(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    lets = profile.again != Again.REFUSE and profile.provision_type in strategies
    return lets and group_key is not None and provisioning.is_proven(nonces, group_key, prepared)


def _check(profile: Profile, device: Device) -> None:
    """Raise _Refused for a device that nobody gets back by a proof."""
    if device.profile_id != profile.id:
        raise _Refused(Refusal.OTHER_PROFILE)
    if device.gateway_id is not None:
        raise _Refused(Refusal.SUB_DEVICE)
    if device.decommissioned_ms is not None:
        raise _Refused(Refusal.DECOMMISSIONED)
    if device.deactivated_ms is not None:
        raise _Refused(Refusal.DEACTIVATED)


def _spend(session: Session, nonces: Nonces, device_id: uuid.UUID, nonce: str) -> bool:
    """Spend a device's nonces of until now; return False if this one is spent already."""
    good = or_(Device.proven_ms.is_(None), Device.proven_ms < nonces.made_ms(nonce))
    spent = update(Device).where(Device.id == device_id, good).values(proven_ms=nonces.spent_ms(nonce))
    return bool(session.connection().execute(spent).rowcount)


def _keep(session: Session, device: Device, wanted: DeviceCredentials | None, origin: Origin) -> ProvisionOutcome:
    """Give a device other credentials, and leave all else as it is."""
    own = wanted or credentials.access_token(names.random_text())
    changed = devices.set_credentials(session, device.id, own)
    if changed:
        _record(session, origin, _CREDENTIALS_UPDATED, Subject.of(device), Status.SUCCESS.value)
    session.merge(Attribute(**provisioning.provisioned_row(device.id)))
    lifecycle.prove(session.connection(), [device.id])
    return _success(device, own, Again.KEEP, device.id if changed else None)


def _reset(session: Session, device: Device, wanted: DeviceCredentials | None, origin: Origin) -> ProvisionOutcome:
    """Delete a device and all that belongs to it, and make a new one of its name."""
    own = wanted or credentials.access_token(names.random_text())
    devices.check_credentials(session, own, device.id)
    new, row = provisioning.new_device_rows(
        session.info["secret_box"], name=device.name, profile_id=device.profile_id, own=own
    )
    spent = select(Device.proven_ms).where(Device.id == device.id)
    new["proven_ms"] = session.connection().scalar(spent)
    _record(session, origin, _DELETED, Subject.of(device), Status.SUCCESS.value)
    devices.delete(session, device)
    session.flush()
    provisioning.store(session.connection(), [new], [row], [provisioning.provisioned_row(new["id"])])
    packages.notify_devices(session, [new["id"]])
    return _success(device, own, Again.RESET, device.id)


def _success(device: Device, own: DeviceCredentials, done: Again, ended: uuid.UUID | None) -> ProvisionOutcome:
    return ProvisionOutcome(
        status=Status.SUCCESS, credentials=own, device_name=device.name, why=done.value, ended=ended
    )


def _now(session: Session, subject: Subject) -> Subject:
    """Return the device of this name as it is now: another one after a reset."""
    found = (
        session.connection().execute(select(Device.id, Device.customer_id).where(Device.name == subject.name)).first()
    )
    return Subject(subject.name, found.id, found.customer_id) if found else subject


def _record(session: Session, origin: Origin, what: str, entity: Subject, result: str) -> None:
    audit.record(session.connection(), [audit.entry(origin, what=what, entity=entity, result=result)])
