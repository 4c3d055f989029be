"""Who gets a device, and with which credentials: ThingsBoard's decision table.

The decisions are made for a batch of requests at once, in their order, inside one transaction.
"""

import re
import secrets
import string
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.registry import credentials
from bench.registry.credentials import CredentialsType, DeviceCredentials, InvalidCredentials
from bench.registry.model import SERVER_SCOPE, Attribute, Credentials, Device, Profile, now_ms

_ALPHANUMERIC = string.ascii_letters + string.digits
_GENERATED_LENGTH = 20
_NAME_LIMIT = 255  # UTF-16 units
# Java's String.trim(): everything up to and including the space.
TRIMMED = "".join(map(chr, range(0x21)))
# What ThingsBoard's validators take for a template or for markup: {{...}}, <b>, </b>, <!--, a<b.
_SCRIPT = re.compile(r"\{\{.*\}\}|<[A-Za-z/!?]", re.DOTALL)

PROVISION_STATE = "provisionState"
_PROVISIONED = '"provisioned"'


class ProvisionType(StrEnum):
    """A profile's strategy."""

    DISABLED = "DISABLED"
    ALLOW_CREATE_NEW_DEVICES = "ALLOW_CREATE_NEW_DEVICES"
    CHECK_PRE_PROVISIONED_DEVICES = "CHECK_PRE_PROVISIONED_DEVICES"


class Status(StrEnum):
    """What a device is told."""

    SUCCESS = "SUCCESS"
    NOT_FOUND = "NOT_FOUND"
    FAILURE = "FAILURE"


@dataclass(frozen=True, kw_only=True)
class ProvisionRequest:
    """A device's request. An empty text means: not given."""

    key: str
    secret: str = field(repr=False)
    device_name: str = ""
    credentials_type: CredentialsType = CredentialsType.ACCESS_TOKEN
    token: str = field(default="", repr=False)
    client_id: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    certificate: str = ""
    gateway: bool = False

    @property
    def has_material(self) -> bool:
        """Rule zero: without any of these the credentials type is ignored."""
        return any((self.token, self.certificate, self.username, self.password, self.client_id))

    def requested(self) -> DeviceCredentials | None:
        """The credentials the device asks for, None if it leaves them to the server; raises InvalidCredentials."""
        if not self.has_material:
            return None
        match self.credentials_type:
            case CredentialsType.ACCESS_TOKEN:
                return credentials.access_token(self.token)
            case CredentialsType.MQTT_BASIC:
                return credentials.mqtt_basic(self.client_id, self.username, self.password)
            case CredentialsType.X509_CERTIFICATE:
                return credentials.x509(self.certificate)
            case CredentialsType.LWM2M_CREDENTIALS:
                raise InvalidCredentials("a request has no field for LwM2M credentials")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answer; `device_name` is for the journal, the device never sees it."""

    status: Status
    credentials: DeviceCredentials | None = None
    device_name: str = ""


FAILURE = Outcome(status=Status.FAILURE)
NOT_FOUND = Outcome(status=Status.NOT_FOUND)


def random_text() -> str:
    """20 random letters and digits, as ThingsBoard makes keys, names and tokens."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(_GENERATED_LENGTH))


def valid_name(name: str) -> bool:
    """Whether a new device may have this (trimmed) name."""
    return (
        bool(name)
        and len(name.encode("utf-16-le")) // 2 <= _NAME_LIMIT
        and "\0" not in name
        and not _SCRIPT.search(name)
    )


def new_device_rows(
    *, name: str, profile_id: uuid.UUID, own: DeviceCredentials, gateway: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of a new device and of its own credentials."""
    device = {
        "id": uuid.uuid4(),
        "name": name,
        "profile_id": profile_id,
        "additional_info": {"gateway": True} if gateway else None,
        "created_ms": now_ms(),
    }
    row = {
        "device_id": device["id"],
        "type": own.type.value,
        "credentials_id": own.id,
        "credentials_value": own.value,
    }
    return device, row


class _Batch:
    """What the database says about the requests of a batch, and what they add to it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.profiles: dict[str, Any] = {}
        self.devices: dict[str, Any] = {}
        self.taken: set[str] = set()
        self.credentials: dict[uuid.UUID, Any] = {}
        self.states: dict[uuid.UUID, str] = {}
        self.new_devices: list[dict[str, Any]] = []
        self.new_credentials: list[dict[str, Any]] = []
        self.new_attributes: list[dict[str, Any]] = []

    async def load(self, requests: Sequence[ProvisionRequest]) -> None:
        rows = await self._select(Profile, Profile.provision_key, (each.key for each in requests))
        self.profiles = {row.provision_key: row for row in rows}
        rows = await self._select(Device, Device.name, (each.device_name.strip(TRIMMED) for each in requests))
        self.devices = {row.name: row for row in rows}
        ids = [own.id for each in requests if (own := _requested(each)) is not None]
        rows = await self._select(Credentials, Credentials.credentials_id, ids)
        self.taken = {row.credentials_id for row in rows}
        # Only CHECK_PRE_PROVISIONED_DEVICES looks at what a device already has.
        found = [
            device.id
            for each in requests
            if (profile := self.profiles.get(each.key))
            and profile.provision_type == ProvisionType.CHECK_PRE_PROVISIONED_DEVICES
            and (device := self.devices.get(each.device_name.strip(TRIMMED)))
        ]
        if found:
            rows = await self._select(Credentials, Credentials.device_id, found)
            self.credentials = {row.device_id: row for row in rows}
            statement = select(Attribute.device_id, Attribute.value).where(
                Attribute.device_id.in_(found), Attribute.scope == SERVER_SCOPE, Attribute.key == PROVISION_STATE
            )
            self.states = {row.device_id: row.value for row in await self._connection.execute(statement)}

    async def _select(self, table: Any, column: Any, values: Iterable[Any]) -> Sequence[Any]:
        wanted = {value for value in values if value}
        if not wanted:
            return ()
        return (await self._connection.execute(select(table.__table__).where(column.in_(wanted)))).all()

    async def save(self) -> None:
        for table, rows in (
            (Device, self.new_devices),
            (Credentials, self.new_credentials),
            (Attribute, self.new_attributes),
        ):
            if rows:
                await self._connection.execute(insert(table), rows)

    def decide(self, request: ProvisionRequest) -> Outcome:
        name = request.device_name.strip(TRIMMED)
        if request.device_name and not name:
            return FAILURE
        profile = self.profiles.get(request.key)
        if not request.key or not request.secret or profile is None or profile.provision_secret is None:
            return NOT_FOUND
        right = secrets.compare_digest(request.secret.encode(), profile.provision_secret.encode())
        if not right or profile.provision_type == ProvisionType.DISABLED:
            return NOT_FOUND
        device = self.devices.get(name)
        if profile.provision_type == ProvisionType.CHECK_PRE_PROVISIONED_DEVICES:
            return self._hand_over(profile, device)
        return FAILURE if device is not None else self._create(profile, name or random_text(), request)

    def _hand_over(self, profile: Any, device: Any) -> Outcome:
        """Existing credentials, once: until someone deletes the attribute `provisionState`."""
        if device is None or device.profile_id != profile.id or device.id in self.states:
            return FAILURE
        self._mark(device.id)
        row = self.credentials[device.id]
        return Outcome(status=Status.SUCCESS, credentials=stored(row), device_name=device.name)

    def _create(self, profile: Any, name: str, request: ProvisionRequest) -> Outcome:
        try:
            own = request.requested() or credentials.access_token(random_text())
        except InvalidCredentials:
            return FAILURE
        if not valid_name(name) or own.id in self.taken:
            return FAILURE
        device, row = new_device_rows(name=name, profile_id=profile.id, own=own, gateway=request.gateway)
        self.new_devices.append(device)
        self.new_credentials.append(row)
        self.devices[name] = SimpleNamespace(**device)
        self.taken.add(own.id)
        self._mark(device["id"])
        return Outcome(status=Status.SUCCESS, credentials=own, device_name=name)

    def _mark(self, device_id: uuid.UUID) -> None:
        self.states[device_id] = _PROVISIONED
        self.new_attributes.append(
            {
                "device_id": device_id,
                "scope": SERVER_SCOPE,
                "key": PROVISION_STATE,
                "value": _PROVISIONED,
                "ts_ms": now_ms(),
            }
        )


def stored(row: Any) -> DeviceCredentials:
    """Credentials from their row in the database."""
    return DeviceCredentials(CredentialsType(row.type), row.credentials_id, row.credentials_value)


def _requested(request: ProvisionRequest) -> DeviceCredentials | None:
    try:
        return request.requested()
    except InvalidCredentials:
        return None


async def provision(connection: AsyncConnection, requests: Sequence[ProvisionRequest]) -> list[Outcome]:
    """Decide a batch of requests in one transaction, in their order."""
    batch = _Batch(connection)
    await batch.load(requests)
    outcomes = [batch.decide(request) for request in requests]
    await batch.save()
    return outcomes
