"""Provisioning: ThingsBoard's decision table for who gets a device, and with which credentials.

The decisions are made for a batch of requests at once, in their order, inside one transaction.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, select

from bench.contract.names import trimmed
from bench.contract.releases import Release
from bench.registry import audit, credentials, device_secrets, lifecycle, names, packages, tombstones
from bench.registry.audit import Origin, Subject
from bench.registry.clock import now_ms
from bench.registry.credentials import CredentialsRequest, DeviceCredentials, InvalidCredentials
from bench.registry.device_secrets import Nonces
from bench.registry.device_states import ProvisioningState
from bench.registry.encryption import SecretBox, WrongKey
from bench.registry.ids import new_id
from bench.registry.model import SERVER_SCOPE, Attribute, Credentials, Device, Profile
from bench.registry.provision_type import ProvisionType
from bench.registry.statements import Insertion, Lookup

PROVISION_STATE = "provisionState"
_PROVISIONED = '"provisioned"'

_PROFILES = Lookup(
    select(
        Profile.id,
        Profile.provision_key,
        Profile.provision_type,
        Profile.sealed_secret,
        Profile.firmware_id,
        Profile.software_id,
    ),
    Profile.provision_key,
)
_DEVICES = Lookup(
    select(
        Device.id,
        Device.name,
        Device.profile_id,
        Device.customer_id,
        Device.deactivated_ms,
        Device.decommissioned_ms,
    ),
    Device.name,
)
_TAKEN = Lookup(select(Credentials.lookup), Credentials.lookup)
_ADD_DEVICES = Insertion(
    Device, "id", "name", "profile_id", "additional_info", "created_ms", "activated_ms", "provisioned_ms"
)
ADD_CREDENTIALS = Insertion(Credentials, "device_id", "type", "lookup", "parts", "proof", "sealed")
_ADD_ATTRIBUTES = Insertion(Attribute, "device_id", "scope", "key", "value", "ts_ms")


class Status(StrEnum):
    """The status of an answer to a provisioning request."""

    SUCCESS = "SUCCESS"
    NOT_FOUND = "NOT_FOUND"
    FAILURE = "FAILURE"
    NONCE = "NONCE"
    """Nothing is decided: the device requested a nonce for its proof."""


@dataclass(frozen=True, kw_only=True)
class ProvisionRequest(CredentialsRequest):
    """A device's request. An empty text means: not given."""

    key: str
    secret: str = field(repr=False)
    device_name: str = ""
    gateway: bool = False
    wants_nonce: bool = False
    """This and the fields below count only without a secret, where ThingsBoard finds nothing."""
    nonce: str = ""
    proof: str = field(default="", repr=False)

    @property
    def proven(self) -> tuple[str, ...]:
        """The fields that a proof covers, in its order."""
        return (
            self.nonce,
            self.device_name,
            self.credentials_type.value,
            self.token,
            self.client_id,
            self.username,
            self.password,
            self.certificate,
        )


@dataclass(frozen=True, kw_only=True)
class ProvisionOutcome:
    """The answer to a request; `device_name` is for the journal, the device never sees it."""

    status: Status
    credentials: DeviceCredentials | None = None
    device_name: str = ""
    nonce: str = ""


FAILURE = ProvisionOutcome(status=Status.FAILURE)
NOT_FOUND = ProvisionOutcome(status=Status.NOT_FOUND)


def new_device_rows(  # noqa: PLR0913 - what a new device has
    secret_box: SecretBox,
    *,
    name: str,
    profile_id: uuid.UUID,
    own: DeviceCredentials,
    gateway: bool = False,
    state: ProvisioningState = ProvisioningState.PROVISIONED,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of a new device and of its credentials; whoever provisions has proved itself."""
    now = now_ms()
    device: dict[str, Any] = {
        "id": new_id(),
        "name": name,
        "profile_id": profile_id,
        "customer_id": None,
        "additional_info": {"gateway": True} if gateway else None,
        "created_ms": now,
        **lifecycle.times(state, now),
    }
    return device, credentials.row(secret_box, device["id"], own)


def provisioned_row(device_id: uuid.UUID) -> dict[str, Any]:
    """Return the attribute that marks a device as provisioned."""
    return {
        "device_id": device_id,
        "scope": SERVER_SCOPE,
        "key": PROVISION_STATE,
        "value": _PROVISIONED,
        "ts_ms": now_ms(),
    }


def store(
    connection: Connection,
    devices: Sequence[dict[str, Any]],
    own: Sequence[dict[str, Any]],
    attributes: Sequence[dict[str, Any]],
) -> None:
    """Store the rows of new devices, of their credentials, and of attributes. Raises IntegrityError."""
    _ADD_DEVICES(connection, devices)
    ADD_CREDENTIALS(connection, own)
    _ADD_ATTRIBUTES(connection, attributes)


class _PreparedRequest:
    """A request with its name trimmed and its credentials made, once."""

    def __init__(self, secret_box: SecretBox, release: Release, request: ProvisionRequest) -> None:
        self.request = request
        self.name = trimmed(request.device_name)
        self.valid = True
        self.own: DeviceCredentials | None = None
        try:
            self.own = request.requested()
            if self.own:
                self.own.check(release)
        except InvalidCredentials:
            self.valid, self.own = False, None
        self.lookup = secret_box.digest(self.own.id) if self.own else ""
        self.tombstones = tombstones.digests(secret_box, self.name, self.own)


class _Batch:
    """The rows of the database that a batch of requests depends on, and the rows that the requests add."""

    def __init__(self, secret_box: SecretBox, nonces: Nonces, connection: Connection, release: Release) -> None:
        self._secret_box = secret_box
        self._release = release
        self._nonces = nonces
        self._connection = connection
        self.profiles: dict[str, Any] = {}
        self.secrets: dict[str, str] = {}
        self.devices: dict[str, Any] = {}
        self.taken: set[str] = set()
        self.buried: set[str] = set()
        self.credentials: dict[uuid.UUID, Any] = {}
        self.states: dict[uuid.UUID, str] = {}
        self.new_devices: list[dict[str, Any]] = []
        self.new_credentials: list[dict[str, Any]] = []
        self.new_attributes: list[dict[str, Any]] = []
        self.with_packages: list[uuid.UUID] = []
        self.proven: list[uuid.UUID] = []

    def load(self, batch: Sequence[_PreparedRequest]) -> None:
        rows = _PROFILES(self._connection, (each.request.key for each in batch))
        self.profiles = {row.provision_key: row for row in rows}
        for key, row in self.profiles.items():
            with suppress(WrongKey):  # of a row that somebody else wrote: it must not stop the others of this batch
                if row.sealed_secret:
                    self.secrets[key] = self._secret_box.decrypt(row.sealed_secret, "profile", row.id)
        self.devices = {row.name: row for row in _DEVICES(self._connection, (each.name for each in batch))}
        self.taken = {row.lookup for row in _TAKEN(self._connection, (each.lookup for each in batch))}
        # Last: if a device is not there any more, and was decommissioned, this finds its tombstones for certain.
        self.buried = tombstones.found(self._connection, (digest for each in batch for digest in each.tombstones))
        # Only CHECK_PRE_PROVISIONED_DEVICES looks at what a device already has.
        found = [
            device.id
            for each in batch
            if (profile := self.profiles.get(each.request.key))
            and profile.provision_type == ProvisionType.CHECK_PRE_PROVISIONED_DEVICES
            and (device := self.devices.get(each.name))
        ]
        if found:
            rows = self._connection.execute(select(Credentials.__table__).where(Credentials.device_id.in_(found))).all()
            self.credentials = {row.device_id: row for row in rows}
            statement = select(Attribute.device_id, Attribute.value).where(
                Attribute.device_id.in_(found), Attribute.scope == SERVER_SCOPE, Attribute.key == PROVISION_STATE
            )
            self.states = {row.device_id: row.value for row in self._connection.execute(statement)}

    def decide(self, prepared: _PreparedRequest) -> ProvisionOutcome:
        request, name = prepared.request, prepared.name
        if request.device_name and not name:
            return FAILURE
        profile, secret = self.profiles.get(request.key), self.secrets.get(request.key)
        shown = request.secret or request.proof
        if not request.key or not shown or profile is None or secret is None:
            return NOT_FOUND
        if profile.provision_type == ProvisionType.X509_CERTIFICATE_CHAIN:  # its secret is no secret: certificates
            return FAILURE
        if not self._is_right(prepared, secret) or profile.provision_type == ProvisionType.DISABLED:
            return NOT_FOUND
        device = self.devices.get(name)
        if profile.provision_type == ProvisionType.CHECK_PRE_PROVISIONED_DEVICES:
            return self._hand_over(profile, device)
        return FAILURE if device is not None else self._create(profile, name or names.random_text(), prepared)

    def _is_right(self, prepared: _PreparedRequest, secret: str) -> bool:
        """Return whether a request shows its profile's secret, or its device's, or proves the latter."""
        request = prepared.request
        if request.secret:
            return device_secrets.is_accepted_secret(secret, prepared.name, request.secret)
        proven = device_secrets.is_valid_proof(secret, prepared.name, request.proven, request.proof)
        return self._nonces.is_fresh(request.nonce, request.key, prepared.name) & proven

    def _hand_over(self, profile: Any, device: Any) -> ProvisionOutcome:
        """Return existing credentials, once: until someone deletes the attribute `provisionState`.

        Older releases return them again, and look only for another value than their own.
        """
        if device is None or device.profile_id != profile.id or not lifecycle.may_provision(device):
            return FAILURE
        state = self.states.get(device.id)
        if state is not None and (self._release.hands_over_once or state != _PROVISIONED):
            return FAILURE
        try:
            own = credentials.from_row(self._secret_box, self.credentials[device.id])
        except WrongKey:
            return FAILURE
        if state is None:
            self._mark(device.id)
        self.proven.append(device.id)
        return ProvisionOutcome(status=Status.SUCCESS, credentials=own, device_name=device.name)

    def _create(self, profile: Any, name: str, prepared: _PreparedRequest) -> ProvisionOutcome:
        if not prepared.valid or not names.is_valid(name) or prepared.lookup in self.taken:
            return FAILURE
        if not self.buried.isdisjoint(prepared.tombstones):
            return FAILURE
        own = prepared.own or credentials.access_token(names.random_text())
        gateway = prepared.request.gateway and bool(prepared.request.secret)  # a proof does not cover it
        device, row = new_device_rows(self._secret_box, name=name, profile_id=profile.id, own=own, gateway=gateway)
        self.new_devices.append(device)
        if profile.firmware_id or profile.software_id:
            self.with_packages.append(device["id"])
        self.new_credentials.append(row)
        self.devices[name] = SimpleNamespace(**device)
        self.taken.add(row["lookup"])
        self._mark(device["id"])
        return ProvisionOutcome(status=Status.SUCCESS, credentials=own, device_name=name)

    def subject(self, prepared: _PreparedRequest, outcome: ProvisionOutcome) -> Subject:
        """Return the device that a decided request was about: none if it had no right to know of one."""
        name = outcome.device_name or prepared.request.device_name
        device = None if outcome.status is Status.NOT_FOUND else self.devices.get(outcome.device_name or prepared.name)
        return Subject(name, device.id, device.customer_id) if device else Subject(name)

    def _mark(self, device_id: uuid.UUID) -> None:
        self.states[device_id] = _PROVISIONED
        self.new_attributes.append(provisioned_row(device_id))


def provision(
    secret_box: SecretBox,
    nonces: Nonces,
    release: Release,
    connection: Connection,
    requests: Sequence[tuple[ProvisionRequest, Origin]],
) -> list[ProvisionOutcome]:
    """Decide a batch of requests in one transaction, in their order, with a row in the audit trail each, unless
    it is refused and its origin says otherwise.

    Args:
        secret_box: The registry's.
        nonces: Checks the nonces of proofs.
        release: The release of ThingsBoard that the server is like.
        connection: In a transaction that may write.
        requests: The requests, each with its origin.

    Returns:
        An outcome for each.
    """
    batch = _Batch(secret_box, nonces, connection, release)
    prepared = [_PreparedRequest(secret_box, release, request) for request, _ in requests]
    batch.load(prepared)
    outcomes = [batch.decide(each) for each in prepared]
    store(connection, batch.new_devices, batch.new_credentials, batch.new_attributes)
    if batch.with_packages:
        packages.notify(connection, batch.with_packages)
    lifecycle.prove(connection, batch.proven)
    trail = [
        audit.entry(origin, what="provision", entity=batch.subject(each, outcome), result=outcome.status.value)
        for (_, origin), each, outcome in zip(requests, prepared, outcomes, strict=True)
        if outcome.status is Status.SUCCESS or origin.keeps_refusal
    ]
    audit.record(connection, trail)
    return outcomes
