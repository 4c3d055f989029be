"""Devices as lines of JSON, with their credentials, to move them to another server without touching a board."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError, NotFound, UsageError
from bench.rest_client.session import Declined, id_of, json_object
from bench.rest_client.thingsboard import ThingsBoard

_SCOPES = ("SERVER_SCOPE", "SHARED_SCOPE", "CLIENT_SCOPE")
# What operators may set. Client attributes are the device's own, and it reports them again.
_SETTABLE = _SCOPES[:2]
# The server's own account of a device's sessions (ThingsBoard's DeviceStateService).
_STATE = ("active", "lastConnectTime", "lastDisconnectTime", "lastActivityTime", "inactivityAlarmTime")
_CREDENTIALS = ("credentialsType", "credentialsId", "credentialsValue")
_TOKEN = "ACCESS_TOKEN"  # noqa: S105 - a kind of credentials


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One device at its new server."""

    name: str
    created: bool = False
    """It was not there before."""
    failed: str = ""
    """Why it is not there."""
    lost: list[str] = field(default_factory=list)
    """What this server did not take, a line each."""
    reported: bool = False
    """It has client attributes, which its board reports again."""


async def export(server: ThingsBoard, device: dict[str, Any], *, with_credentials: bool) -> dict[str, Any]:
    """Return all of a device that another server can be given.

    Args:
        server: Where from.
        device: Its information, with its customer's title.
        with_credentials: Its credentials, too, which are secret.
    """
    device_id = id_of(device)
    found = {
        "name": device["name"],
        "label": device.get("label"),
        "profile": device["type"],
        "customer": device.get("customerTitle"),
        "additionalInfo": device.get("additionalInfo"),
    }
    if with_credentials:
        own = await server.credentials(device_id)
        found["credentials"] = {key: own[key] for key in _CREDENTIALS}
    attributes = {scope: await server.attributes(device_id, scope) for scope in _SCOPES}
    attributes["SERVER_SCOPE"] = {k: v for k, v in attributes["SERVER_SCOPE"].items() if k not in _STATE}
    return {**found, "attributes": attributes}


def parse(lines: Iterable[str], where: str) -> list[dict[str, Any]]:
    """Return the devices in a file's lines; all that is wrong with it is found before anything is sent.

    Raises:
        UsageError: Lines are not devices, or a name is there twice; the message names the first such lines.
    """
    found: dict[str, dict[str, Any]] = {}
    wrong = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        device = _device(line)
        if device is None:
            wrong.append(f"line {number} holds no device")
        elif device["name"] in found:
            wrong.append(f"line {number} has a name that was there before")
        else:
            found[device["name"]] = device
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UsageError(f"{where}: {'; '.join(wrong[:3])}{more}: name a file of bench device export")
    if not found:
        raise UsageError(f"{where} holds no devices: name a file of bench device export")
    return list(found.values())


def _device(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key), str) and found[key] for key in ("name", "profile")
    ):
        return None
    own, attributes = found.get("credentials", {}), found.get("attributes", {})
    if not isinstance(own, dict) or not isinstance(attributes, dict) or set(attributes) - set(_SCOPES):
        return None
    if own and not isinstance(own.get("credentialsType"), str):
        return None
    return found if all(isinstance(each, dict) for each in attributes.values()) else None


async def store(
    server: ThingsBoard, device: dict[str, Any], profiles: dict[str, Any], customers: dict[str, str]
) -> Moved:
    """Give a server a device from another one: same name, credentials, and attributes as far as it takes them.

    A device that is there with the same credentials is brought up to date, so a move that was interrupted is
    repeated; one with others is left alone.

    Args:
        server: Where to.
        device: As `export` returns it.
        profiles: The server's profiles' ids by name; the device's is among them.
        customers: The server's customers' ids by title.
    """
    name = device["name"]
    try:
        device_id, created, lost = await _made(server, device, profiles)
        title = device.get("customer")
        if title and title in customers:
            await server.assign(customers[title], device_id)
        elif title:
            lost.append(f"customer {title}: this server does not have it")
        for scope in _SETTABLE:
            lost += await _set(server, device_id, scope, device.get("attributes", {}).get(scope) or {})
    except BenchError as error:
        return Moved(name=name, failed=str(error))
    reported = bool(device.get("attributes", {}).get("CLIENT_SCOPE"))
    return Moved(name=name, created=created, lost=lost, reported=reported)


async def _made(server: ThingsBoard, device: dict[str, Any], profiles: dict[str, Any]) -> tuple[str, bool, list[str]]:
    """Return the device's id, whether it was made now, and what is not as in the file."""
    name, own = device["name"], device.get("credentials")
    try:
        there = await server.device(name)
    except NotFound:
        form = {key: device.get(key) for key in ("name", "label", "additionalInfo")}
        form["deviceProfileId"] = profiles[device["profile"]]
        if own is None:
            made = json_object(await server.post("/api/device", form))
            return id_of(made), True, ["credentials: the file has none, and the server made others"]
        return id_of(await server.create_with_credentials(form, _wanted(own))), True, []
    device_id = id_of(there)
    if own is not None:
        now = await server.credentials(device_id)
        if any(now[key] != value for key, value in _wanted(own).items() if value is not None):
            raise Declined(f"there is a device {name} with other credentials: rename or delete one of them")
    return device_id, False, []


def _wanted(own: dict[str, Any]) -> dict[str, Any]:
    """Return credentials without the id that servers derive from a certificate or a password themselves."""
    kind = own["credentialsType"]
    wanted = {key: own.get(key) for key in _CREDENTIALS}
    return wanted if kind == _TOKEN else {**wanted, "credentialsId": None}


async def _set(server: ThingsBoard, device_id: str, scope: str, values: dict[str, Any]) -> list[str]:
    """Set attributes, and return a line for each that is not there as it should be."""
    if not values:
        return []
    there = await server.attributes(device_id, scope)
    changed = {key: value for key, value in values.items() if key not in there or not _is_same(there[key], value)}
    if changed:
        await server.set_attributes(device_id, scope, changed)
        there = await server.attributes(device_id, scope)
    return [
        f"{scope} {key}: {'this server stores it as another value' if key in there else 'this server does not keep it'}"
        for key, value in values.items()
        if key not in there or not _is_same(there[key], value)
    ]


def _is_same(one: Any, other: Any) -> bool:
    """Compare as JSON does: 1 is not true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
