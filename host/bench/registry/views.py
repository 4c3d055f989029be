"""Profiles and devices as a whole, for callers outside of a transaction."""

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from bench.registry import devices, group_keys, profiles, timeseries
from bench.registry.credentials import DeviceCredentials
from bench.registry.model import Device, Profile


@dataclass(frozen=True, kw_only=True)
class ProfileView:
    """A profile with its provisioning secret."""

    name: str
    provision_type: str
    provision_key: str
    """Empty if it has none, and so the secret."""
    provision_secret: str = field(repr=False)
    created_ms: int
    group_key: str = field(default="", repr=False)
    """Empty if it has none."""


@dataclass(frozen=True, kw_only=True)
class DeviceView:
    """A device with all that belongs to it. Its credentials are secret."""

    name: str
    profile: str
    created_ms: int
    credentials: DeviceCredentials
    attributes: dict[str, dict[str, Any]]
    telemetry: dict[str, Any]


def of_profile(session: Session, profile: Profile) -> ProfileView:
    """Return the view of a profile."""
    return ProfileView(
        name=profile.name,
        provision_type=profile.provision_type,
        provision_key=profile.provision_key or "",
        provision_secret=profiles.secret_of(session, profile) or "",
        group_key=group_keys.of(session, profile) or "",
        created_ms=profile.created_ms,
    )


def of_device(session: Session, device: Device) -> DeviceView:
    """Return the view of a device."""
    attributes: dict[str, dict[str, Any]] = {}
    for each in timeseries.attributes(session, device.id):
        attributes.setdefault(each.scope, {})[each.key] = json.loads(each.value)
    return DeviceView(
        name=device.name,
        profile=session.get_one(Profile, device.profile_id).name,
        created_ms=device.created_ms,
        credentials=devices.credentials_of(session, device.id),
        attributes=attributes,
        telemetry={each.key: json.loads(each.value) for each in timeseries.latest(session, device.id)},
    )
