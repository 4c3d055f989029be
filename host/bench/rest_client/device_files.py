"""Devices as lines of JSON, with their credentials, to move them to another server without touching a board."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.contract.templates import Field, Template, ValueType
from bench.errors import BenchError, NotFound, UsageError
from bench.registry.device_states import Access
from bench.rest_client.session import Declined, id_of, in_parallel, json_object
from bench.rest_client.templates import with_required
from bench.rest_client.thingsboard import ThingsBoard

SCOPES = ("SERVER_SCOPE", "SHARED_SCOPE", "CLIENT_SCOPE")
# What operators may set. Client attributes are the device's own, and it reports them again.
_SETTABLE = SCOPES[:2]
# The server's own account of a device's sessions (ThingsBoard's DeviceStateService).
_STATE = ("active", "lastConnectTime", "lastDisconnectTime", "lastActivityTime", "inactivityAlarmTime")
CREDENTIALS = ("credentialsType", "credentialsId", "credentialsValue")
_TOKEN = "ACCESS_TOKEN"  # noqa: S105 - a kind of credentials
# Lines that an error names.
_NAMED = 3
_ACCESSES = (None, Access.ACTIVE, Access.DEACTIVATED)


@dataclass(kw_only=True)
class Moved:
    """One device at its new server."""

    name: str
    created: bool = False
    """It was not there before."""
    changed: bool = False
    """It was there, and not as in the file."""
    failed: str = ""
    """Why it is not there."""
    lost: list[str] = field(default_factory=list)
    """What this server did not take, a line each."""
    reported: bool = False
    """It has client attributes, which its board reports again."""


@dataclass(frozen=True)
class KnownProfile:
    """A profile of the new server: its id, as ThingsBoard's JSON has it, and its template."""

    id: dict[str, str]
    template: Template


def line(device: dict[str, Any]) -> bytes:
    """Return the line of a device in a file: the same bytes for the same device."""
    attributes = {scope: dict(sorted(values.items())) for scope, values in device["attributes"].items()}
    attributes["SERVER_SCOPE"] = {key: each for key, each in attributes["SERVER_SCOPE"].items() if key not in _STATE}
    return json.dumps({**device, "attributes": attributes}).encode() + b"\n"


def is_decommissioned(device: Mapping[str, Any]) -> bool:
    """Return whether a device was decommissioned: no server may bring it back to life."""
    return bool(device["access"] == Access.DECOMMISSIONED)


def check(lines: Iterable[str], where: str) -> tuple[int, set[str]]:
    """Return the number of devices in a file's lines, and their profiles; all that is wrong with it is found before.

    Raises:
        UsageError: Lines are not devices, or a name is there twice; the message names the first such lines.
    """
    names: set[str] = set()
    profiles: set[str] = set()
    wrong, count = [], 0
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        device = _device(text)
        if device is not None and device["name"] not in names:
            names.add(device["name"])
            profiles.add(device["profile"])
            continue
        count += 1
        if count <= _NAMED:
            wrong.append(f"line {number} {'has a name that was there before' if device else 'holds no device'}")
    if wrong:
        more = f", and {count - _NAMED} more" if count > _NAMED else ""
        raise UsageError(f"{where}: {'; '.join(wrong)}{more}: name a file of bench device export")
    if not names:
        raise UsageError(f"{where} holds no devices: name a file of bench device export")
    return len(names), profiles


def read(lines: Iterable[str], where: str) -> Iterator[dict[str, Any]]:
    """Yield the devices in lines that were checked. Raises UsageError if there are other ones now."""
    for text in filter(str.strip, lines):
        device = _device(text)
        if device is None:
            raise UsageError(f"{where} was changed while it was read: import it again")
        yield device


def _device(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key), str) and found[key] for key in ("name", "profile")
    ):
        return None
    if found.get("access") not in _ACCESSES or not isinstance(found.get("serialNumber") or "", str):
        return None
    own, attributes, fields = (found.get(key, {}) for key in ("credentials", "attributes", "fields"))
    if not all(isinstance(each, dict) for each in (own, attributes, fields)) or set(attributes) - set(SCOPES):
        return None
    if own and not isinstance(own.get("credentialsType"), str):
        return None
    return found if all(isinstance(each, dict) for each in attributes.values()) else None


async def known_profiles(server: ThingsBoard, wanted: Collection[str]) -> dict[str, KnownProfile]:
    """Return those of a server's profiles that have these names, by their names."""
    found = [each for each in await server.profiles() if each["name"] in wanted]
    templates = await in_parallel(found, lambda each: server.template(id_of(each)))
    return {
        each["name"]: KnownProfile(each["id"], template or Template())
        for each, template in zip(found, templates, strict=True)
    }


async def store(
    server: ThingsBoard, device: dict[str, Any], profiles: Mapping[str, KnownProfile], customers: dict[str, str]
) -> Moved:
    """Give a server a device from another one: same name, credentials, and all else as far as it takes it.

    A device that is there with the same credentials is brought up to date, so a move that was interrupted is
    repeated; one with others is left alone.

    Args:
        server: Where to.
        device: As `export` returns it.
        profiles: The server's profiles by name; the device's is among them.
        customers: The server's customers' ids by title.
    """
    done = Moved(name=device["name"])
    try:
        there = await _made(server, device, profiles, done)
        await _set_record(server, id_of(there), device, done)  # first: it may be one that must not log in
        await _set_fields(server, id_of(there), device.get("fields", {}), done)
        await _assign(server, there, device.get("customer"), customers, done)
        for scope in _SETTABLE:
            await _set(server, id_of(there), scope, device.get("attributes", {}).get(scope) or {}, done)
    except BenchError as error:
        return Moved(name=done.name, failed=str(error))
    done.reported = bool(device.get("attributes", {}).get("CLIENT_SCOPE"))
    done.changed = done.changed and not done.created
    return done


async def _made(
    server: ThingsBoard, device: dict[str, Any], profiles: Mapping[str, KnownProfile], done: Moved
) -> dict[str, Any]:
    """Return the device that is there then."""
    name, own = device["name"], device.get("credentials")
    form = {"name": name, "label": device.get("label"), "additionalInfo": device.get("additionalInfo")}
    profile = profiles[device["profile"]]
    form["deviceProfileId"] = profile.id
    try:
        there = await server.device(name)
    except NotFound:
        done.created = True
        form["additionalInfo"] = with_required(profile.template, device.get("fields", {}), form["additionalInfo"])
        if own is None:
            done.lost.append("credentials: the file has none, and the server made others")
            return json_object(await server.post("/api/device", form))
        return await server.create_with_credentials(form, _wanted(own))
    if own is not None:
        now = await server.credentials(id_of(there))
        if any(now[key] != value for key, value in _wanted(own).items() if value is not None):
            raise Declined(f"there is a device {name} with other credentials: rename or delete one of them")
    if _is_same({key: there.get(key) for key in form}, form):
        return there
    done.changed = True
    return json_object(await server.post("/api/device", {**there, **form, "type": None}))


def _wanted(own: dict[str, Any]) -> dict[str, Any]:
    """Return credentials without the id that servers derive from a certificate or a password themselves."""
    kind = own["credentialsType"]
    wanted = {key: own.get(key) for key in CREDENTIALS}
    return wanted if kind == _TOKEN else {**wanted, "credentialsId": None}


async def _assign(
    server: ThingsBoard, there: dict[str, Any], title: str | None, customers: dict[str, str], done: Moved
) -> None:
    if title and title not in customers:
        done.lost.append(f"customer {title}: this server does not have it")
    elif title and id_of({"id": there["customerId"]}) != customers[title]:
        await server.assign(customers[title], id_of(there))
        done.changed = True


async def _set_record(server: ThingsBoard, device_id: str, device: dict[str, Any], done: Moved) -> None:
    """Set what only bench serve keeps. A device that was deactivated here is not let in again by a file."""
    serial_number, access = device.get("serialNumber"), device.get("access")
    if not serial_number and access is None:
        return
    record = await server.lifecycle(device_id)
    if record is None:
        if serial_number:
            done.lost.append("serial number: this server does not keep it")
        if access == Access.DEACTIVATED:
            done.lost.append("deactivated: this server lets it log in")
        return
    if access == Access.DEACTIVATED and record["access"] == Access.ACTIVE:
        await server.deactivate(device_id)
        done.changed = True
    elif access != record["access"]:
        done.lost.append(f"{access}: it is {record['access']} here, and stays so")
    if serial_number and record["serialNumber"] != serial_number:
        await server.set_serial_number(device_id, serial_number)
        done.changed = True


async def _set_fields(server: ThingsBoard, device_id: str, values: dict[str, Any], done: Moved) -> None:
    """Set values of fields, and note those that the template of the device's profile does not take here."""
    if not values:
        return
    found = await server.inherited(device_id)
    if found is None:
        done.lost.append("fields: this server does not keep them")
        return
    there = {name: Field(type=ValueType(each["type"])) for name, each in found["fields"].items()}
    taken = {name: value for name, value in values.items() if name in there and there[name].is_valid(value)}
    done.lost += [f"field {name}: its profile's template takes no such value here" for name in values.keys() - taken]
    own = {name: each["value"] for name, each in found["fields"].items() if each["own"]}
    changed = {name: value for name, value in taken.items() if not _is_same(own.get(name), value)}
    if changed:
        await server.change_fields(device_id, changed)
        done.changed = True


async def _set(server: ThingsBoard, device_id: str, scope: str, values: dict[str, Any], done: Moved) -> None:
    """Set attributes, and note those that are not there as they should be."""
    if not values:
        return
    there = await server.attributes(device_id, scope)
    changed = {key: value for key, value in values.items() if key not in there or not _is_same(there[key], value)}
    if changed:
        await server.set_attributes(device_id, scope, changed)
        before, there = there, await server.attributes(device_id, scope)
        done.changed |= any(not _is_same(before.get(key), there.get(key)) for key in changed)
    done.lost += [
        f"{scope} {key}: {'this server stores it as another value' if key in there else 'this server does not keep it'}"
        for key, value in values.items()
        if key not in there or not _is_same(there[key], value)
    ]


def _is_same(one: Any, other: Any) -> bool:
    """Compare as JSON does: 1 is not true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
