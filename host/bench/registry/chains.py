"""Devices by their certificates: profiles of the strategy X509_CERTIFICATE_CHAIN.

Whoever shows a chain proved that each certificate in it is signed by the next one. If one of them is a profile's, the
first one, the leaf, becomes the credentials of the device that its common name names.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from bench.contract.credentials import CredentialsType
from bench.registry import audit, credentials, names, provisioning
from bench.registry.audit import Origin
from bench.registry.credentials import sha3
from bench.registry.encryption import SecretBox
from bench.registry.model import Attribute, Audit, Credentials, Device, Profile
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import Status

# X.520 ends a common name at 64 characters, but nobody enforces it, and a pattern may need the square of it.
_LONGEST_NAME = 1024


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A TLS client's certificates as `trim_certificate` leaves them, the leaf first."""

    certificates: tuple[str, ...]
    common_name: str | None
    """The leaf's common name, None if it has none."""


@dataclass(frozen=True)
class ChainOutcome:
    """The outcome for a chain. `status` is None where nothing was requested: no profile has these certificates."""

    status: Status | None
    device_name: str = ""
    replaced: uuid.UUID | None = None
    """The device whose credentials were replaced, so that sessions with the old ones can be ended."""


_UNKNOWN = ChainOutcome(None)


def provision(
    secret_box: SecretBox, connection: Connection, chains: Sequence[tuple[Chain, Origin]]
) -> list[ChainOutcome]:
    """Decide a batch of chains in one transaction, in their order (a batch function)."""
    outcomes = []
    for chain, origin in chains:
        outcome = _decide(secret_box, connection, chain)
        if outcome.status is Status.SUCCESS or (outcome.status is not None and origin.keeps_refusal):
            name = outcome.device_name or chain.common_name or ""
            row = audit.entry(origin, what="provision", entity=name, result=outcome.status.value)
            connection.execute(insert(Audit), [row])
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
    leaf = credentials.x509(chain.certificates[0])
    device = connection.execute(
        select(Device.id, Device.profile_id, Credentials.type, Credentials.lookup)
        .join(Credentials, Credentials.device_id == Device.id)
        .where(Device.name == name)
    ).first()
    if device is not None and device.profile_id == profile.id:
        if device.type != CredentialsType.X509_CERTIFICATE:
            return ChainOutcome(Status.SUCCESS, name)  # left as it is: its login will fail
        row = credentials.row(secret_box, leaf)
        if device.lookup == row["lookup"]:
            return _UNKNOWN  # another process was faster with this very leaf, and may have let it in
        connection.execute(update(Credentials).where(Credentials.device_id == device.id).values(row))
        return ChainOutcome(Status.SUCCESS, name, device.id)
    if device is not None or not profile.allow_create or not names.is_valid(name):
        return ChainOutcome(Status.FAILURE, name)
    new, row = provisioning.new_device_rows(secret_box, name=name, profile_id=profile.id, own=leaf)
    connection.execute(insert(Device), [new])
    connection.execute(insert(Credentials), [row])
    connection.execute(insert(Attribute), [provisioning.provisioned_row(new["id"])])
    return ChainOutcome(Status.SUCCESS, name)


def name_in(common_name: str | None, pattern: str | None) -> str | None:
    r"""Return group 1 of the first match of a pattern in a common name.

    None if it matches nowhere, is not a pattern, or has no such group. Java's `\d`, `\w` and `\s` are ASCII.
    """
    if not pattern or common_name is None or len(common_name) > _LONGEST_NAME or "\0" in common_name:
        return None
    try:
        found = re.search(pattern, common_name, re.ASCII)
        return found[1] if found else None
    except (re.error, IndexError, OverflowError, RecursionError):
        return None
