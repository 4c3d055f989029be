"""Provisioning: ThingsBoard's decision table for who gets a device, and with which credentials.

The decisions are made for a batch of requests at once, in their order, inside one transaction.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, select, update

from bench.contract.names import trimmed
from bench.contract.releases import Release
from bench.registry import (
    audit,
    credentials,
    device_secrets,
    group_keys,
    hook_events,
    lifecycle,
    names,
    packages,
    profile_hooks,
    tombstones,
)
from bench.registry.audit import Origin, Subject
from bench.registry.clock import now_ms
from bench.registry.credentials import CredentialsRequest, DeviceCredentials, InvalidCredentials
from bench.registry.device_secrets import Nonces
from bench.registry.device_states import ProvisioningState
from bench.registry.encryption import SecretBox, WrongKey
from bench.registry.event_kinds import HookEvent
from bench.registry.ids import new_id
from bench.registry.model import SERVER_SCOPE, Attribute, Credentials, Device, Profile
from bench.registry.profile_hooks import ProfileHook
from bench.registry.provision_type import Again, ProvisionType
from bench.registry.statements import Insertion, Lookup

WHAT = "provision"
"""What the trail calls it."""
PROVISION_STATE = "provisionState"
_PROVISIONED = '"provisioned"'

_PROFILES = Lookup(
    select(
        Profile.id,
        Profile.name,
        Profile.provision_key,
        Profile.provision_type,
        Profile.sealed_secret,
        Profile.firmware_id,
        Profile.software_id,
        Profile.sealed_group_key,
        Profile.again,
        Profile.sealed_hook,
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
        Device.proven_ms,
    ),
    Device.name,
)
_TAKEN = Lookup(select(Credentials.lookup), Credentials.lookup)
_ADD_DEVICES = Insertion(
    Device, "id", "name", "profile_id", "additional_info", "created_ms", "activated_ms", "provisioned_ms", "proven_ms"
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
    PENDING = "PENDING"
    """Everything speaks for the device, and nothing is done: who sent the request wants to approve it first."""


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
    needs_approval: bool = False
    """True if the server's hook is to decide, too. This and the next two are never the device's own."""
    is_approved: bool = False
    """True once a hook has approved it."""
    approved_name: str = ""
    """The name that a hook approved, if the device chose none."""

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
    why: str = ""
    """The reason of a refusal, or what became of a device that was there; for the journal and the trail alone."""
    again: uuid.UUID | None = None
    """Nothing is decided yet: this device provisions again (see `reprovisioning`)."""
    ended: uuid.UUID | None = None
    """The device whose sessions have to end: it has other credentials, or is deleted."""
    profile_name: str = ""
    """This and the next: of what is pending."""
    hook: ProfileHook | None = None
    """The hook that is to decide; None: the server's."""

    @property
    def result(self) -> str:
        """The result in the audit trail: the reason of a refusal if there is one."""
        return self.status.value if self.status is Status.SUCCESS else self.why or self.status.value


NOT_PROVEN, REPLAYED = "not_proven", "replayed"
"""The reasons why a device that is there does not provision again: a secret was shown, or a proof twice."""
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
        "proven_ms": None,
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
    hook_events.note(connection, HookEvent.CREATED, (each["id"] for each in devices))
    ADD_CREDENTIALS(connection, own)
    _ADD_ATTRIBUTES(connection, attributes)


class PreparedRequest:
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


def is_proven(nonces: Nonces, group_key: str, prepared: PreparedRequest) -> bool:
    """Return whether a request proves the claim secret that follows from this key, with a nonce of the last minute."""
    request = prepared.request
    right = device_secrets.is_valid_proof(group_key, prepared.name, request.proven, request.proof)
    return nonces.is_fresh(request.nonce, request.key, prepared.name) & right


class _Batch:
    """The rows of the database that a batch of requests depends on, and the rows that the requests add."""

    def __init__(self, secret_box: SecretBox, nonces: Nonces, connection: Connection, release: Release) -> None:
        self._secret_box = secret_box
        self._release = release
        self._nonces = nonces
        self._connection = connection
        self.profiles: dict[str, Any] = {}
        self.secrets: dict[str, str] = {}
        self.group_keys: dict[str, str] = {}
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
        self.spent: dict[uuid.UUID, int] = {}

    def load(self, batch: Sequence[PreparedRequest]) -> None:
        rows = _PROFILES(self._connection, (each.request.key for each in batch))
        self.profiles = {row.provision_key: row for row in rows}
        for key, row in self.profiles.items():
            with suppress(WrongKey):  # of a row that somebody else wrote: it must not stop the others of this batch
                if row.sealed_secret:
                    group_key = group_keys.decrypted(self._secret_box, row)
                    self.secrets[key] = self._secret_box.decrypt(row.sealed_secret, "profile", row.id)
                    self.group_keys[key] = group_key or self.secrets[key]
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

    def decide(self, prepared: PreparedRequest) -> ProvisionOutcome:
        request = prepared.request
        if request.device_name and not prepared.name:
            return FAILURE
        profile, secret = self.profiles.get(request.key), self.secrets.get(request.key)
        shown = request.secret or request.proof
        if not request.key or not shown or profile is None or secret is None:
            return NOT_FOUND
        if profile.provision_type == ProvisionType.X509_CERTIFICATE_CHAIN:  # its secret is no secret: certificates
            return FAILURE
        if not self._is_right(prepared, secret) or profile.provision_type == ProvisionType.DISABLED:
            return NOT_FOUND
        return self._decide_for(profile, prepared)

    def _decide_for(self, profile: Any, prepared: PreparedRequest) -> ProvisionOutcome:
        """Decide a request that has the right to be decided."""
        request, name = prepared.request, prepared.name
        device = self.devices.get(name)
        if device is not None and self._is_again(profile, device):
            return self._decide_again(profile, device, request)
        if profile.provision_type == ProvisionType.CHECK_PRE_PROVISIONED_DEVICES:
            return self._hand_over(profile, device, request)
        name = name or request.approved_name or names.random_text()
        return FAILURE if device is not None else self._create(profile, name, prepared)

    def _decide_again(self, profile: Any, device: Any, request: ProvisionRequest) -> ProvisionOutcome:
        """Leave a device that provisions again to `reprovisioning`, unless a look is enough to refuse it."""
        if request.secret:
            return replace(FAILURE, why=NOT_PROVEN)
        if device.proven_ms is not None and self._nonces.made_ms(request.nonce) <= device.proven_ms:
            return replace(FAILURE, why=REPLAYED)
        if profile_hooks.is_due(request, profile):
            return self._pending(profile, device.name)
        return replace(FAILURE, again=device.id)

    def _is_again(self, profile: Any, device: Any) -> bool:
        """Return whether a device that is there provisions again, in a profile that does not refuse that."""
        waits = profile.provision_type == ProvisionType.CHECK_PRE_PROVISIONED_DEVICES and device.id not in self.states
        return profile.again != Again.REFUSE and not waits

    def _is_right(self, prepared: PreparedRequest, secret: str) -> bool:
        """Return whether a request shows its profile's secret, or its device's, or proves the latter."""
        request, group_key = prepared.request, self.group_keys[prepared.request.key]
        if request.secret:
            return device_secrets.is_accepted_secret(secret, prepared.name, request.secret, group_key)
        return is_proven(self._nonces, group_key, prepared)

    def _hand_over(self, profile: Any, device: Any, request: ProvisionRequest) -> ProvisionOutcome:
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
        if profile_hooks.is_due(request, profile):
            return self._pending(profile, device.name)
        if state is None:
            self._mark(device.id)
        self.proven.append(device.id)
        if request.proof and not request.secret:
            self.spent[device.id] = self._nonces.spent_ms(request.nonce)
        return ProvisionOutcome(status=Status.SUCCESS, credentials=own, device_name=device.name)

    def _create(self, profile: Any, name: str, prepared: PreparedRequest) -> ProvisionOutcome:
        if not prepared.valid or not names.is_valid(name) or prepared.lookup in self.taken:
            return FAILURE
        if not self.buried.isdisjoint(prepared.tombstones):
            return FAILURE
        if profile_hooks.is_due(prepared.request, profile):
            return self._pending(profile, name)
        own = prepared.own or credentials.access_token(names.random_text())
        gateway = prepared.request.gateway and bool(prepared.request.secret)  # a proof does not cover it
        device, row = new_device_rows(self._secret_box, name=name, profile_id=profile.id, own=own, gateway=gateway)
        if not prepared.request.secret:
            device["proven_ms"] = self._nonces.spent_ms(prepared.request.nonce)
        self.new_devices.append(device)
        if packages.has_any(profile):
            self.with_packages.append(device["id"])
        self.new_credentials.append(row)
        self.devices[name] = SimpleNamespace(**device)
        self.taken.add(row["lookup"])
        self._mark(device["id"])
        return ProvisionOutcome(status=Status.SUCCESS, credentials=own, device_name=name)

    def _pending(self, profile: Any, name: str) -> ProvisionOutcome:
        """Leave a device to a hook; refuse it if somebody else wrote what the profile has for one."""
        try:
            hook = profile_hooks.decrypted(self._secret_box, profile)
        except WrongKey:
            return FAILURE
        return ProvisionOutcome(status=Status.PENDING, device_name=name, profile_name=profile.name, hook=hook)

    def subject(self, prepared: PreparedRequest, outcome: ProvisionOutcome) -> Subject:
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
    prepared = [PreparedRequest(secret_box, release, request) for request, _ in requests]
    batch.load(prepared)
    outcomes = [batch.decide(each) for each in prepared]
    store(connection, batch.new_devices, batch.new_credentials, batch.new_attributes)
    if batch.with_packages:
        packages.notify(connection, batch.with_packages)
    lifecycle.prove(connection, batch.proven)
    for device_id, spent_ms in batch.spent.items():
        connection.execute(update(Device).where(Device.id == device_id).values(proven_ms=spent_ms))
    trail = [
        audit.entry(origin, what=WHAT, entity=batch.subject(each, outcome), result=outcome.result)
        for (_, origin), each, outcome in zip(requests, prepared, outcomes, strict=True)
        if outcome.again is None
        and outcome.status is not Status.PENDING
        and (outcome.status is Status.SUCCESS or origin.keeps_refusal)
    ]
    audit.record(connection, trail)
    return outcomes
