"""Devices by their certificates: profiles of the strategy X509_CERTIFICATE_CHAIN.

Each certificate of a chain vouches for the first one, the leaf, if it is trusted itself (RFC 5280, section 6). If one
of them is a profile's, the leaf becomes the credentials of the device that its common name names.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from bench.contract.credentials import CredentialsType
from bench.registry import (
    announcements,
    audit,
    credentials,
    hook_events,
    lifecycle,
    names,
    packages,
    patterns,
    profile_hooks,
    provisioning,
    tombstones,
)
from bench.registry.announcements import Kind
from bench.registry.audit import Origin, Subject
from bench.registry.credentials import sha3
from bench.registry.encryption import SecretBox, WrongKey
from bench.registry.event_kinds import HookEvent
from bench.registry.model import Credentials, Device, Profile
from bench.registry.profile_hooks import ProfileHook
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import Status
from bench.registry.statements import Lookup

# X.520 ends a common name at 64 characters, but nobody enforces it.
_LONGEST_NAME = 1024
_DEVICES = Lookup(select(Device.id, Device.customer_id), Device.name)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A TLS client's certificates as `trim_certificate` leaves them: the leaf, and those that may vouch for it."""

    certificates: tuple[str, ...]
    common_name: str | None
    """The leaf's common name, None if it has none."""
    is_current: bool = True
    """True within the leaf's dates. One that is out of date may make a device, but takes over none."""
    flaw: str = ""
    """The reason why what else was shown is left out."""
    needs_approval: bool = False
    """True if the server's hook is to decide, too."""
    is_approved: bool = False
    """True once a hook has approved it."""


@dataclass(frozen=True)
class ChainOutcome:
    """The outcome for a chain. `status` is None where nothing was requested: no profile has these certificates."""

    status: Status | None
    device_name: str = ""
    replaced: uuid.UUID | None = None
    """The device whose credentials were replaced, so that sessions with the old ones can be ended."""
    profile_name: str = ""
    """This and the next: of what is pending."""
    hook: ProfileHook | None = None
    """The hook that is to decide; None: the server's."""


_UNKNOWN = ChainOutcome(None)


def provision(
    secret_box: SecretBox, connection: Connection, chains: Sequence[tuple[Chain, Origin]]
) -> list[ChainOutcome]:
    """Decide a batch of chains in one transaction, in their order (a batch function)."""
    outcomes = []
    for chain, origin in chains:
        outcome = _decide(secret_box, connection, chain)
        decided = outcome.status not in (None, Status.PENDING)
        if outcome.status is Status.SUCCESS or (decided and origin.keeps_refusal):
            name = outcome.device_name or chain.common_name or ""
            row = audit.entry(origin, what="provision", entity=_subject(connection, name), result=str(outcome.status))
            audit.record(connection, [row])
        outcomes.append(outcome)
    return outcomes


def _decide(secret_box: SecretBox, connection: Connection, chain: Chain) -> ChainOutcome:
    for text in chain.certificates:
        known = select(Credentials.type).where(Credentials.lookup == secret_box.digest(sha3(text)))
        if connection.scalar(known) == CredentialsType.X509_CERTIFICATE:
            return _UNKNOWN  # a device that is there already, and nothing to do
        profile = connection.execute(
            select(Profile.__table__).where(
                Profile.provision_key == sha3(text), Profile.provision_type == ProvisionType.X509_CERTIFICATE_CHAIN
            )
        ).first()
        if profile is not None:
            return _provision(secret_box, connection, profile, chain)
    return _UNKNOWN


def _provision(secret_box: SecretBox, connection: Connection, profile: Any, chain: Chain) -> ChainOutcome:
    name = name_in(chain.common_name, profile.certificate_pattern)
    if name is None:
        return ChainOutcome(Status.FAILURE)
    device = connection.execute(
        select(
            Device.id,
            Device.name,
            Device.profile_id,
            Device.deactivated_ms,
            Device.decommissioned_ms,
            Credentials.type,
            Credentials.lookup,
        )
        .join(Credentials, Credentials.device_id == Device.id)
        .where(Device.name == name)
        .with_for_update(of=Credentials)  # an operator may replace them now
    ).first()
    leaf = credentials.x509(chain.certificates[0])
    if tombstones.found(connection, tombstones.digests(secret_box, name, leaf)):
        return ChainOutcome(Status.FAILURE, name)
    if device is not None and device.profile_id == profile.id:
        return _renew(secret_box, connection, device, profile, chain)
    if device is not None or not profile.allow_create or not names.is_valid(name):
        return ChainOutcome(Status.FAILURE, name)
    if profile_hooks.is_due(chain, profile):
        return _pending(secret_box, profile, name)
    new, row = provisioning.new_device_rows(secret_box, name=name, profile_id=profile.id, own=leaf)
    provisioning.store(connection, [new], [row], [provisioning.provisioned_row(new["id"])])
    if packages.has_any(profile):
        packages.notify(connection, [new["id"]])
    return ChainOutcome(Status.SUCCESS, name)


def _renew(secret_box: SecretBox, connection: Connection, device: Any, profile: Any, chain: Chain) -> ChainOutcome:
    """Give a device a new leaf in the place of its old one."""
    if not lifecycle.may_provision(device):
        return ChainOutcome(Status.FAILURE, device.name)
    if device.type != CredentialsType.X509_CERTIFICATE:
        return ChainOutcome(Status.SUCCESS, device.name)  # left as it is: its login will fail
    row = credentials.row(secret_box, device.id, credentials.x509(chain.certificates[0]))
    if device.lookup == row["lookup"]:
        return _UNKNOWN  # another process was faster with this very leaf, and may have let it in
    if not chain.is_current:  # it could not log in, and nobody else could any more
        return ChainOutcome(Status.FAILURE, device.name)
    if profile_hooks.is_due(chain, profile):
        return _pending(secret_box, profile, device.name)
    connection.execute(update(Credentials).where(Credentials.device_id == device.id).values(row))
    announcements.announce(connection, Kind.CREDENTIALS, device.id)
    hook_events.note(connection, HookEvent.ROTATED, [device.id])
    return ChainOutcome(Status.SUCCESS, device.name, device.id)


def _pending(secret_box: SecretBox, profile: Any, name: str) -> ChainOutcome:
    """Leave a device to a hook; refuse it if somebody else wrote what the profile has for one."""
    try:
        hook = profile_hooks.decrypted(secret_box, profile)
    except WrongKey:
        return ChainOutcome(Status.FAILURE, name)
    return ChainOutcome(Status.PENDING, name, profile_name=profile.name, hook=hook)


def _subject(connection: Connection, name: str) -> Subject:
    for device in _DEVICES(connection, [name]):  # any text: a certificate's
        return Subject(name, device.id, device.customer_id)
    return Subject(name)


def name_in(common_name: str | None, pattern: str | None) -> str | None:
    r"""Return group 1 of the first match of a pattern in a common name.

    None if it matches nowhere, is not a pattern, has no such group, or takes too long.
    """
    if not pattern or common_name is None or len(common_name) > _LONGEST_NAME or "\0" in common_name:
        return None
    return patterns.first_group(pattern, common_name)
