"""Devices made ahead of their first boot, many at once: one device a line (`import_cells`)."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.registry import devices, import_cells, names, profiles, templates, timeseries
from bench.registry.clock import now_ms
from bench.registry.import_cells import ImportColumn, ImportLine
from bench.registry.model import SERVER_SCOPE, SHARED_SCOPE, Device

_SCOPES = {"SHARED_ATTRIBUTE": SHARED_SCOPE, "SERVER_ATTRIBUTE": SERVER_SCOPE}
_SERIES = "TIMESERIES"


@dataclass(frozen=True)
class ImportedDevice:
    """The result of a line."""

    device: Device
    created: bool
    new_credentials: bool


def store(session: Session, line: ImportLine, *, update: bool) -> ImportedDevice:
    """Create or change the device of a line.

    Args:
        session: In a transaction that may write.
        line: The line.
        update: Whether a device that exists gets attributes and telemetry, too.

    Raises:
        Refused: The line is invalid, or its device cannot be stored.
    """
    own = import_cells.check(line, session.info["release"])
    name, kind, replaced = line.fields["NAME"], line.fields.get("TYPE"), False
    known = session.scalar(select(Device).where(Device.name == name))
    profile = profiles.find_or_create(session, kind) if kind else None
    if known is None:
        profile = profile or profiles.default(session)
        template = templates.of_profile(profile)
        fields = templates.of_new_device(template, template.read(line.custom))
        device = devices.create(session, name, profile, own=own, fields=fields)
    else:
        device = known
        device.profile_id = profile.id if profile else known.profile_id
        if line.custom:
            templates.change_own(session, device, templates.of_device(session, device).read(line.custom))
        replaced = own is not None and devices.set_credentials(session, device.id, own)
    _describe(device, line.fields)
    session.flush()
    if known is None or update:
        _set_values(session, device, line.values)
    return ImportedDevice(device, known is None, replaced)


def _describe(device: Device, fields: dict[str, str]) -> None:
    if "LABEL" in fields:
        device.label = fields["LABEL"]
    if "SERIAL_NUMBER" in fields:
        devices.set_serial_number(device, fields["SERIAL_NUMBER"])
    info = dict(device.additional_info) if isinstance(device.additional_info, dict) else {}
    if "DESCRIPTION" in fields:
        info["description"] = fields["DESCRIPTION"]
    if "IS_GATEWAY" in fields:
        info["gateway"] = fields["IS_GATEWAY"].lower() == "true"
    names.check(additionalInfo=info)
    device.additional_info = info or device.additional_info


def _set_values(session: Session, device: Device, values: dict[ImportColumn, Any]) -> None:
    groups: dict[str, dict[str, Any]] = {}
    for column, stored in values.items():
        if column.key:
            groups.setdefault(column.type, {})[column.key] = stored
    for kind, scope in _SCOPES.items():
        if kind in groups:
            timeseries.set_attributes(session, device.id, scope, groups[kind])
    if _SERIES in groups:
        now = now_ms()
        entries = [(now, key, stored) for key, stored in groups[_SERIES].items()]
        timeseries.add_telemetry(session, device.id, entries)
