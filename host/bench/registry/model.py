"""The tables. Every race is decided by one of the unique constraints here.

Times are milliseconds since the epoch. Values of attributes and telemetry are JSON text.
"""

import time
import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

CLIENT_SCOPE = "CLIENT_SCOPE"
SERVER_SCOPE = "SERVER_SCOPE"


def now_ms() -> int:
    """The time of day, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Profile(Base):
    """A device profile: who may provision, and how."""

    __tablename__ = "profile"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(Text, unique=True)
    provision_type: Mapped[str] = mapped_column(Text)
    provision_key: Mapped[str | None] = mapped_column(Text, unique=True)
    provision_secret: Mapped[str | None] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class Device(Base):
    """A device. Names are unique over all profiles."""

    __tablename__ = "device"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(Text, unique=True)
    profile_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("profile.id"))
    additional_info: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)

    __table_args__ = (Index(None, "profile_id"),)


class Credentials(Base):
    """What a device logs in with; `credentials_id` is unique over all devices and types."""

    __tablename__ = "credentials"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    credentials_id: Mapped[str] = mapped_column(Text, unique=True)
    credentials_value: Mapped[str | None] = mapped_column(Text)


class Attribute(Base):
    """The last value of an attribute in its scope."""

    __tablename__ = "attribute"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    scope: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    ts_ms: Mapped[int] = mapped_column(BigInteger)


class Telemetry(Base):
    """The latest value of a time series."""

    __tablename__ = "telemetry"

    device_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    ts_ms: Mapped[int] = mapped_column(BigInteger)
