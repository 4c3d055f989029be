"""The tables. Every race is decided by one of the unique constraints here.

Times are milliseconds since the epoch. Values of attributes and telemetry are JSON text. Columns of bytes are
encrypted, and columns called `lookup`, `proof` or `secret_digest` are digests (see `encryption`). What is encrypted,
and each `proof`, `password_hash` and API key's digest, is bound to its row: no other row can have it.
"""

import uuid
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column, synonym

from bench.registry.clock import now_ms
from bench.registry.ids import new_id

CLIENT_SCOPE = "CLIENT_SCOPE"
SHARED_SCOPE = "SHARED_SCOPE"
SERVER_SCOPE = "SERVER_SCOPE"


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Versioned:
    """A row whose version counts its changes: nobody overwrites what they have not seen."""

    version: Mapped[int] = mapped_column(BigInteger, server_default="1")

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - a class's, as SQLAlchemy has it
        return {"version_id_col": cls.version}


class Detailed:
    """A row with fields that mean nothing here; an operator's client gets them back."""

    details: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")


class Profile(Versioned, Detailed, Base):
    """A device profile: who may provision, and how."""

    __tablename__ = "profile"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(Text, unique=True)
    provision_type: Mapped[str] = mapped_column(Text)
    provision_key: Mapped[str | None] = mapped_column(Text, unique=True)
    sealed_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The provisioning secret; the certificates of an X509_CERTIFICATE_CHAIN profile."""
    sealed_group_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The key that devices' own keys follow from (see `group_keys`); None: they follow from the provisioning secret."""
    again: Mapped[str] = mapped_column(Text, server_default="refuse")
    """What becomes of a device that provisions again: a `provision_type.Again`."""
    certificate_pattern: Mapped[str | None] = mapped_column(Text)
    allow_create: Mapped[bool] = mapped_column(default=False)
    """True if a certificate chain may create a device."""
    transport_type: Mapped[str] = mapped_column(Text, default="DEFAULT")
    """The transport that its devices may log in over; DEFAULT is any."""
    firmware_id: Mapped[uuid.UUID | None]
    """This and the next: the packages of its devices, but for those that have their own."""
    software_id: Mapped[uuid.UUID | None]
    sealed_hook: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The hook that may refuse its devices (see `profile_hooks`); None: the server's, if that has one."""
    is_default: Mapped[bool] = mapped_column(default=False)
    template: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    """What its devices inherit (see `templates`)."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class Package(Versioned, Base):
    """Firmware or software that devices fetch (see `packages`). Title and version are unique together."""

    __tablename__ = "package"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    """A `packages.Kind`."""
    title: Mapped[str] = mapped_column(Text)
    package_version: Mapped[str] = mapped_column(Text)
    tag: Mapped[str | None] = mapped_column(Text)
    profile_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("profile.id", ondelete="CASCADE"), index=True)
    """The only profile whose devices may have it; None: any."""
    url: Mapped[str | None] = mapped_column(Text)
    """The place of its content, if that is elsewhere."""
    additional_info: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    file_name: Mapped[str | None] = mapped_column(Text)
    """This and the columns below: of its content, None until it is there."""
    content_type: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    algorithm: Mapped[str | None] = mapped_column(Text)
    checksum: Mapped[str | None] = mapped_column(Text)
    digest: Mapped[str | None] = mapped_column(Text)
    """SHA-256 in hex: the name of its file."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)

    __table_args__ = (UniqueConstraint("title", "package_version"),)


class Rollout(Base):
    """A package that devices of a profile are assigned one after the other (see `rollouts`)."""

    __tablename__ = "rollout"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    package_id: Mapped[uuid.UUID] = mapped_column(index=True)
    """The package, which may be deleted after the end; this and the next three are copies of what it was."""
    kind: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    package_version: Mapped[str] = mapped_column(Text)
    profile_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("profile.id", ondelete="CASCADE"), index=True)
    attributes: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What devices had to have among their attributes when it began."""
    canary: Mapped[int]
    at_most: Mapped[int]
    rate_number: Mapped[int]
    rate_ms: Mapped[int] = mapped_column(BigInteger)
    stop_percent: Mapped[float | None] = mapped_column(Float)
    stop_failures: Mapped[int | None]
    timeout_ms: Mapped[int] = mapped_column(BigInteger)
    then_profile: Mapped[bool]
    """True if the profile is to have the package after a success of all."""
    state: Mapped[str] = mapped_column(Text)
    """A `rollout_states.RolloutState`."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it was stopped."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    turned_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    """The last sign that a server drives it. Time without one is not held against a device."""
    ended_ms: Mapped[int | None] = mapped_column(BigInteger, index=True)
    """None while anything is still to be done, or waited for."""


class RolloutDevice(Base):
    """A device of a rollout, which may be deleted since."""

    __tablename__ = "rollout_device"

    rollout_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"), primary_key=True)
    device_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    """A `rollout_states.DeviceState`."""
    cause: Mapped[str] = mapped_column(Text)
    """Why it failed, or was left out."""
    previous_id: Mapped[uuid.UUID | None]
    """The package of its own that it had before."""
    assigned_ms: Mapped[int | None] = mapped_column(BigInteger)
    due_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The time by which a result has to be there."""
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_rollout_device_state", "rollout_id", "state"),)


class Customer(Versioned, Detailed, Base):
    """A customer, to whom devices are assigned."""

    __tablename__ = "customer"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    title: Mapped[str] = mapped_column(Text, unique=True)
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class User(Versioned, Detailed, Base):
    """An account of an operator, or of a customer's user."""

    __tablename__ = "user_account"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(Text, unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    """Bound to this row, with the key beside the database (see `passwords`); empty until there is a password."""
    customer_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("customer.id", ondelete="CASCADE"))
    """None for an operator."""
    role: Mapped[str] = mapped_column(Text, server_default="operator")
    """An operator's `roles.Role`, which the hash of the password is bound to. Of customers' users it limits nothing."""
    enabled: Mapped[bool] = mapped_column(server_default=true())
    """False if nobody may log in to it now."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class ApiKey(Base):
    """A key by which programs act as an account, instead of logging in to it."""

    __tablename__ = "api_key"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    description: Mapped[str] = mapped_column(Text)
    """Its name for people."""
    role: Mapped[str] = mapped_column(Text)
    """The `roles.Role` beyond which it does not go, whatever its account may."""
    secret_digest: Mapped[str] = mapped_column(Text)
    """Bound to the row, its account, role and end."""
    expires_ms: Mapped[int] = mapped_column(BigInteger)
    """0: never."""
    enabled: Mapped[bool]
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)

    __table_args__ = (Index(None, "user_id"),)


class EndedSession(Base):
    """A session of a user that was logged out, whose tokens would be valid still."""

    __tablename__ = "ended_session"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    forget_ms: Mapped[int] = mapped_column(BigInteger)
    """The time by which all its tokens have expired."""


class Device(Versioned, Detailed, Base):
    """A device. Names are unique over all profiles."""

    __tablename__ = "device"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(Text, unique=True)
    label: Mapped[str | None] = mapped_column(Text)
    profile_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("profile.id"))
    customer_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("customer.id", ondelete="SET NULL"))
    additional_info: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    """Any JSON; None if there is none."""
    gateway_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    """The gateway that made it, which may be gone since: ThingsBoard's relation `Created`. None for most."""
    serial_number: Mapped[str | None] = mapped_column(Text, index=True)
    """The maker's own; two devices may have the same."""
    fields: Mapped[dict[str, str]] = mapped_column(JSON, server_default="{}")
    """Its own values of its profile's fields (see `templates`)."""
    firmware_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    """This and the next: the packages of its own, in the place of its profile's."""
    software_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    firmware_notified: Mapped[uuid.UUID | None]
    """This and the next: the packages that it was told to have."""
    software_notified: Mapped[uuid.UUID | None]
    is_online: Mapped[bool] = mapped_column(server_default=false())
    """True if it has a session, on whatever server, or was heard lately; stored some time later."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    activated_ms: Mapped[int | None] = mapped_column(BigInteger)
    """This and the next four: see `lifecycle`."""
    provisioned_ms: Mapped[int | None] = mapped_column(BigInteger)
    associated_ms: Mapped[int | None] = mapped_column(BigInteger)
    deactivated_ms: Mapped[int | None] = mapped_column(BigInteger)
    decommissioned_ms: Mapped[int | None] = mapped_column(BigInteger)
    proven_ms: Mapped[int | None] = mapped_column(BigInteger)
    """Proofs with nonces that were made until then are spent (see `reprovisioning`); None: it proved nothing yet."""

    __table_args__ = (
        Index(None, "customer_id"),
        *(
            Index(f"ix_device_profile_{kind}", "profile_id", f"{kind}_id", f"{kind}_notified")
            for kind in ("firmware", "software")
        ),
    )


for _own, _notified in ((Device.firmware_id, Device.firmware_notified), (Device.software_id, Device.software_notified)):
    _differs = _own.is_not(None) & _own.is_distinct_from(_notified)
    Index(f"ix_device_{_notified.key}", _own, sqlite_where=_differs, postgresql_where=_differs)


class Credentials(Versioned, Base):
    """A device's credentials. `lookup`, the digest of their id, is unique over all devices and types."""

    __tablename__ = "credentials"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    lookup: Mapped[str] = mapped_column(Text, unique=True)
    parts: Mapped[str] = mapped_column(Text, default="")
    """Parts of MQTT basic credentials that a login has to show: letters of `cup`."""
    proof: Mapped[str] = mapped_column(Text)
    """The digest of those parts and of the row itself."""
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """Id and value, which operators and pre-provisioned devices are given back."""


class Tombstone(Base):
    """A name, or a part of credentials, that no device gets any more: its own was decommissioned."""

    __tablename__ = "tombstone"

    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    device_id: Mapped[uuid.UUID]
    """The device, which may be deleted since."""
    buried_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class DeviceKey(Base):
    """A device's API key (see `device_keys`). `lookup` is its digest, `proof` that of the key and the row."""

    __tablename__ = "device_key"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    lookup: Mapped[str] = mapped_column(Text, unique=True)
    proof: Mapped[str] = mapped_column(Text)


class AssociationCode(Base):
    """A code that hands a device to whichever customer's user has it (see `associations`)."""

    __tablename__ = "association_code"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    lookup: Mapped[str] = mapped_column(Text, unique=True)
    proof: Mapped[str] = mapped_column(Text)
    """The digest of the code and of the row."""
    expires_ms: Mapped[int] = mapped_column(BigInteger)


class ClaimOffer(Base):
    """A device's offer to whoever knows the secret."""

    __tablename__ = "claim"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    secret_digest: Mapped[str] = mapped_column(Text)
    expires_ms: Mapped[int] = mapped_column(BigInteger)


class Attribute(Base):
    """The last value of an attribute in its scope."""

    __tablename__ = "attribute"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    owner: Mapped[uuid.UUID] = synonym("device_id")
    scope: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    ts_ms: Mapped[int] = mapped_column(BigInteger)


class Telemetry(Base):
    """The latest value of a time series."""

    __tablename__ = "telemetry"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    owner: Mapped[uuid.UUID] = synonym("device_id")
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    ts_ms: Mapped[int] = mapped_column(BigInteger)


class TelemetryHistory(Base):
    """All values of a time series."""

    __tablename__ = "telemetry_history"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    owner: Mapped[uuid.UUID] = synonym("device_id")
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    ts_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class EntityAttribute(Base):
    """The last value of an attribute of an entity that is not a device."""

    __tablename__ = "entity_attribute"

    entity_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner: Mapped[uuid.UUID] = synonym("entity_id")
    scope: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    ts_ms: Mapped[int] = mapped_column(BigInteger)


class EntityTelemetry(Base):
    """The latest value of a time series of an entity that is not a device."""

    __tablename__ = "entity_telemetry"

    entity_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner: Mapped[uuid.UUID] = synonym("entity_id")
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    ts_ms: Mapped[int] = mapped_column(BigInteger)


class EntityTelemetryHistory(Base):
    """All values of a time series of an entity that is not a device."""

    __tablename__ = "entity_telemetry_history"

    entity_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner: Mapped[uuid.UUID] = synonym("entity_id")
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    ts_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class Relation(Versioned, Base):
    """A relation from one entity to another, of any kind: so both are only ids here."""

    __tablename__ = "relation"

    from_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    from_type: Mapped[str] = mapped_column(Text, primary_key=True)
    type_group: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    to_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    to_type: Mapped[str] = mapped_column(Text, primary_key=True)
    additional_info: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)

    __table_args__ = (Index(None, "to_id"),)


class PersistentCall(Base):
    """A call of a device that is kept until it is answered, delivered (one-way) or over."""

    __tablename__ = "persistent_call"

    number: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    """Calls of a device are sent in this order."""
    id: Mapped[uuid.UUID] = mapped_column(unique=True)
    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"))
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    expires_ms: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    is_open: Mapped[bool]
    """False once the status is the last one."""
    oneway: Mapped[bool]
    method: Mapped[str] = mapped_column(Text)
    params: Mapped[str] = mapped_column(Text)
    retries: Mapped[int | None]
    """How often the caller has it sent again; None leaves that to the server."""
    timeouts: Mapped[int] = mapped_column(default=0)
    """How often it was sent and not acknowledged."""
    additional_info: Mapped[str | None] = mapped_column(Text)
    response: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int]
    """Bytes of its texts, the response among them."""

    __table_args__ = (Index(None, "device_id"), Index("ix_persistent_call_expiry", "is_open", "expires_ms"))


class BrokerKey(Base):
    """A key with which a message broker asks about devices' logins."""

    __tablename__ = "broker_key"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    """The broker's name, by which it logs in."""
    proof: Mapped[str] = mapped_column(Text)
    """The digest of the key and of the name."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class Webhook(Base):
    """A URL that is sent what happens to devices (see `webhooks`)."""

    __tablename__ = "webhook"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """The URL, which may have a secret in it, and the key of the signatures: JSON."""
    events: Mapped[list[str]] = mapped_column(JSON)
    """What it is sent: names of `hook_events.HookEvent`."""
    is_enabled: Mapped[bool]
    """False once the receiver said that it is gone."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class WebhookDelivery(Base):
    """An event that a webhook was not sent yet, or will not be sent any more."""

    __tablename__ = "webhook_delivery"

    number: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(unique=True)
    webhook_id: Mapped[uuid.UUID]
    """Not a foreign key: whoever writes the event must not fail because the webhook was removed a moment ago."""
    event: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    """JSON, the same at each try."""
    created_ms: Mapped[int] = mapped_column(BigInteger)
    due_ms: Mapped[int] = mapped_column(BigInteger)
    """The next try; while one is under way, the time from which another server may make it."""
    tries: Mapped[int] = mapped_column(default=0)
    is_dead: Mapped[bool] = mapped_column(default=False)
    """True if it was tried as often as it is."""
    problem: Mapped[str] = mapped_column(Text, default="")
    """What came of the last try."""

    __table_args__ = (Index("ix_webhook_delivery_due", "webhook_id", "is_dead", "due_ms"),)


class Audit(Base):
    """A row of the audit trail. Never a secret."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    ts_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms, index=True)
    who: Mapped[str] = mapped_column(Text)
    """A user's e-mail address, or `device`."""
    what: Mapped[str] = mapped_column(Text)
    entity: Mapped[str] = mapped_column(Text)
    """The name of what it was done to."""
    address: Mapped[str] = mapped_column(Text)
    transport: Mapped[str] = mapped_column(Text)
    result: Mapped[str] = mapped_column(Text)
    request: Mapped[str] = mapped_column(Text)
    """The request id, as in the journal."""
    api_key: Mapped[str] = mapped_column(Text, server_default="")
    """The name of the API key by which it was done; empty: with a login, or by a device."""
    entity_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    """None if it was not made, or is not known."""
    user_id: Mapped[uuid.UUID | None]
    """None for a device."""
    customer_id: Mapped[uuid.UUID | None]
    """The customer of the entity, or of the user."""


class KeyCheck(Base):
    """One row, encrypted: shows whether the key beside the database belongs to it."""

    __tablename__ = "seal_check"

    id: Mapped[int] = mapped_column(primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
