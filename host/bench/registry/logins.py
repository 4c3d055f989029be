"""Logins: finding the devices of many at once, by one query for all (batch functions)."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from sqlalchemy import Connection, case, literal_column, select
from sqlalchemy.orm import Session

from bench.contract import broker_topics
from bench.contract.credentials import CredentialsType
from bench.registry import credentials, device_keys
from bench.registry.audit import Subject
from bench.registry.credentials import MqttLogin
from bench.registry.encryption import SecretBox
from bench.registry.model import Credentials, Device, DeviceKey, Profile
from bench.registry.statements import Lookup, parts


@dataclass(frozen=True)
class KnownDevice:
    """A device whose requests are served: it logged in, or a gateway that did speaks for it."""

    id: uuid.UUID
    name: str

    @property
    def subject(self) -> Subject:
        """The device in the audit trail."""
        return Subject(self.name, self.id)


@dataclass(frozen=True)
class DeviceLogin(KnownDevice):
    """A device that showed valid credentials."""

    transport_type: str
    """The only transport that its profile lets it log in over; DEFAULT is any."""
    shown: tuple[str, str] = field(repr=False)
    """The digests of those credentials: `lookup` and `proof`."""
    mqtt: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The transport configuration of an MQTT profile, as an operator's client sent it."""
    is_gateway: bool = False
    overwrites_activity: bool = False
    """For a gateway: what it does counts as activity of all devices behind it."""
    is_first: bool = field(default=False, compare=False)
    """True if it never provisioned or logged in before."""
    is_decommissioned: bool = False
    """True if it is let in for nothing but the order to wipe itself."""
    profile_name: str = field(default="", compare=False)
    topics: str = field(default=broker_topics.PATTERN, compare=False)
    """The pattern of its topics at a broker; known of a device that was found by its name."""

    @classmethod
    def of_row(cls, row: Any) -> Self:
        """Return the device of a row that was found."""
        data = (row.mqtt or {}).get("profileData") or {}
        own = data.get("transportConfiguration") or {}
        info = row.additional_info if isinstance(row.additional_info, dict) else {}
        return cls(
            row.device_id,
            row.name,
            row.transport_type,
            (row.lookup, row.proof),
            own,
            is_gateway=as_boolean(info.get("gateway")),
            overwrites_activity=info.get("overwriteActivityTime") is True,
            is_first=row.provisioned_ms is None,
            is_decommissioned=row.decommissioned_ms is not None,
            profile_name=row.profile_name,
        )


def as_boolean(value: Any) -> bool:
    """Return a value of JSON as Jackson's `asBoolean` does."""
    return value.strip() == "true" if isinstance(value, str) else value is True or (type(value) is int and value != 0)


_LOGINS = (
    select(
        Credentials.device_id,
        Device.name,
        Device.additional_info,
        Device.provisioned_ms,
        Device.decommissioned_ms,
        Profile.name.label("profile_name"),
        Profile.transport_type,
        case((Profile.transport_type == literal_column("'MQTT'"), Profile.details)).label("mqtt"),
        Credentials.type,
        Credentials.lookup,
        Credentials.parts,
        Credentials.proof,
    )
    .select_from(Credentials)
    .join(Device, Device.id == Credentials.device_id)
    .join(Profile, Profile.id == Device.profile_id)
    .where(Device.deactivated_ms.is_(None))
)
_FOUND = Lookup(_LOGINS, Credentials.lookup)
_NAMED = Lookup(_LOGINS.add_columns(Credentials.sealed, Profile.template), Credentials.lookup)
_BY_KEY = Lookup(
    _LOGINS.add_columns(DeviceKey.lookup.label("key"), DeviceKey.proof.label("key_proof")).join(
        DeviceKey, DeviceKey.device_id == Device.id
    ),
    DeviceKey.lookup,
)


def _rows(connection: Connection, lookups: Iterable[str], lookup: Lookup = _FOUND) -> dict[str, Any]:
    return {row.lookup: row for row in lookup(connection, lookups)}


def login(secret_box: SecretBox, connection: Connection, logins: Sequence[MqttLogin]) -> list[DeviceLogin | None]:
    """Return the devices of MQTT logins, None for each that is refused (a batch function)."""
    wanted = [{each: secret_box.digest(each) for each in credentials.candidates(login)} for login in logins]
    rows = _rows(connection, (lookup for each in wanted for lookup in each.values()))
    return [_accepted(secret_box, login, each, rows) for login, each in zip(logins, wanted, strict=True)]


def _accepted(
    secret_box: SecretBox, login: MqttLogin, wanted: dict[str, str], rows: dict[str, Any]
) -> DeviceLogin | None:
    for candidate, lookup in wanted.items():
        if (row := rows.get(lookup)) is None:
            continue
        if credentials.accepts(secret_box, row, candidate, login):
            return DeviceLogin.of_row(row)
        if candidate != login.username and row.type == CredentialsType.MQTT_BASIC:
            return None  # client id and user name are those of a device: nothing else is tried
    return None


def shown(session: Session, device_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[str, str]]:
    """Return what logins with the credentials of these devices show now; one that may not log in is left out."""
    columns = (
        select(Credentials.device_id, Credentials.lookup, Credentials.proof)
        .join(Device, Device.id == Credentials.device_id)
        .where(Device.deactivated_ms.is_(None), Device.decommissioned_ms.is_(None))
    )
    found: dict[uuid.UUID, tuple[str, str]] = {}
    for part in parts(device_ids):
        found |= {row[0]: (row[1], row[2]) for row in session.execute(columns.where(Credentials.device_id.in_(part)))}
    return found


def named(secret_box: SecretBox, connection: Connection, names: Sequence[MqttLogin]) -> list[DeviceLogin | None]:
    """Return the devices that log in by these user names and client ids, None where there is none (a batch function).

    Their passwords are not looked at: it is for what somebody does who was let in before.
    """
    wanted = [{each: secret_box.digest(each) for each in credentials.candidates(login)} for login in names]
    rows = _rows(connection, (lookup for each in wanted for lookup in each.values()), _NAMED)
    return [_meant(secret_box, login, each, rows) for login, each in zip(names, wanted, strict=True)]


def certified(secret_box: SecretBox, connection: Connection, certificates: Sequence[str]) -> list[DeviceLogin | None]:
    """Return the devices with these very certificates, with their topics at a broker, or None (a batch function)."""
    wanted = [secret_box.digest(credentials.sha3(each)) for each in certificates]
    rows = _rows(connection, wanted, _NAMED)
    return [_certified(secret_box, rows.get(each)) for each in wanted]


def _certified(secret_box: SecretBox, row: Any) -> DeviceLogin | None:
    if row is None or row.type != CredentialsType.X509_CERTIFICATE or not credentials.is_genuine(secret_box, row):
        return None
    return _with_topics(row)


def _with_topics(row: Any) -> DeviceLogin:
    return replace(DeviceLogin.of_row(row), topics=row.template.get("topics", broker_topics.PATTERN))


def _meant(secret_box: SecretBox, login: MqttLogin, wanted: dict[str, str], rows: dict[str, Any]) -> DeviceLogin | None:
    for candidate, lookup in wanted.items():
        row = rows.get(lookup)
        kinds = (CredentialsType.MQTT_BASIC, *([CredentialsType.ACCESS_TOKEN] if candidate == login.username else []))
        if row is not None and row.type in kinds:
            own = credentials.from_row(secret_box, row)  # raises for another device's
            if own.id != candidate:
                return None
            return _with_topics(row)
    return None


def find(secret_box: SecretBox, connection: Connection, wanted: Sequence[tuple[str, str]]) -> list[DeviceLogin | None]:
    """Return the devices with credentials of a type and with this digest, or None (a batch function)."""
    rows = _rows(connection, (lookup for _, lookup in wanted))
    found = [(rows.get(lookup), kind) for kind, lookup in wanted]
    return [
        DeviceLogin.of_row(row) if row and row.type == kind and credentials.is_genuine(secret_box, row) else None
        for row, kind in found
    ]


def find_by_key(secret_box: SecretBox, connection: Connection, keys: Sequence[str]) -> list[DeviceLogin | None]:
    """Return the devices with these API keys, or None (a batch function)."""
    digests = [device_keys.digest(secret_box, key) for key in keys]
    rows = {row.key: row for row in _BY_KEY(connection, digests)}
    found = [rows.get(each) for each in digests]
    return [
        DeviceLogin.of_row(row)
        if row is not None and device_keys.is_genuine(secret_box, row.device_id, row.key_proof, key)
        else None
        for row, key in zip(found, keys, strict=True)
    ]
