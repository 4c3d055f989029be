"""A comparison of an import with the devices that are there: lines that are new, that change one, that are the same."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench.cli.import_fields import ImportFields
from bench.cli.import_lines import FileLine
from bench.contract.credentials import CredentialsType
from bench.errors import NotFound
from bench.registry.credentials import DeviceCredentials
from bench.rest_client import ThingsBoard, id_of, in_parallel
from bench.server import json_reader


class Effect(StrEnum):
    """The effect of a line."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True)
class PlannedLine:
    """A line, and what it would do. `changes` says what of a device that is there, in words without secrets."""

    file_line: FileLine
    effect: Effect
    changes: list[str] = field(default_factory=list)


async def plan(server: ThingsBoard, lines: Sequence[FileLine]) -> list[PlannedLine]:
    """Compare lines with the devices on a server; those that their profiles' templates refuse have a problem then."""
    fields = await ImportFields.of(server, lines)
    return await in_parallel(lines, lambda each: _planned(server, fields, each))


async def _planned(server: ThingsBoard, fields: ImportFields, each: FileLine) -> PlannedLine:
    try:
        device = await server.device(each.name)
    except NotFound:
        fields.check_new(each)
        return PlannedLine(each, Effect.NEW)
    changes = list(_described(device, each.line.fields))
    changes += await fields.changes(server, device, each)
    if serial_number := each.line.fields.get("SERIAL_NUMBER"):
        old = (await server.lifecycle(id_of(device)) or {}).get("serialNumber")
        changes += [f"serial number {json.dumps(old)} -> {json.dumps(serial_number)}"] if old != serial_number else []
    if each.own and not _is_same(each.own, await server.credentials(id_of(device))):
        changes.append("credentials")
    if each.line.values:
        stored = await server.attributes(id_of(device), "SERVER_SCOPE")
        changes += _attributes(stored, each)
    return PlannedLine(each, Effect.CHANGED if changes else Effect.SAME, changes)


def _described(device: Mapping[str, Any], fields: Mapping[str, str]) -> Iterator[str]:
    info = device.get("additionalInfo")
    info = info if isinstance(info, dict) else {}
    gateway = fields["IS_GATEWAY"].lower() == "true" if "IS_GATEWAY" in fields else None
    for what, old, new in (
        ("profile", device.get("type"), fields.get("TYPE")),
        ("label", device.get("label"), fields.get("LABEL")),
        ("description", info.get("description"), fields.get("DESCRIPTION")),
        ("gateway", info.get("gateway"), gateway),
    ):
        if new is not None and old != new:
            yield f"{what} {json.dumps(old)} -> {json.dumps(new)}"


def _is_same(own: DeviceCredentials, stored: Mapping[str, Any]) -> bool:
    if (stored["credentialsType"], stored["credentialsId"]) != (own.type, own.id):
        return False
    return own.type is not CredentialsType.MQTT_BASIC or _parts(own.value) == _parts(stored["credentialsValue"])


def _parts(text: Any) -> dict[str, Any]:
    """Return the parts of MQTT basic credentials that are there."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return {key: value for key, value in found.items() if value} if isinstance(found, dict) else {}


def _attributes(stored: Mapping[str, Any], each: FileLine) -> Iterator[str]:
    for column, value in each.line.values.items():
        new, old = json_reader.stored(value), stored.get(column.key)
        if column.key not in stored or old != new or isinstance(old, bool) is not isinstance(new, bool):
            yield f"{column.key} {json.dumps(old)} -> {json.dumps(new)}"
