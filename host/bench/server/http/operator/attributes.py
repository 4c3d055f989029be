"""Routes of attributes of devices."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import timeseries
from bench.registry.model import CLIENT_SCOPE, Attribute, Device
from bench.server import json_reader
from bench.server.http.operator.authorization import AnyUser, Caller, TextRoute
from bench.server.http.operator.bodies import RawBody, read_large
from bench.server.http.operator.errors import Failed
from bench.server.http.operator.params import DeviceId
from bench.server.http.operator.schemas.telemetry import AttributeJson
from bench.server.http.operator.telemetry_params import (
    PREFIX,
    EntityId,
    Key,
    Keys,
    Kind,
    check_keys,
    described,
    keys_of,
)

router = APIRouter(route_class=TextRoute, prefix=PREFIX, tags=["telemetry"])

_Scope = Annotated[Literal["CLIENT_SCOPE", "SHARED_SCOPE", "SERVER_SCOPE"], Path(alias="scope")]
_ATTRIBUTES = described({"target": 21.5, "mode": "auto"})


@router.get("/{entityType}/{entityId}/keys/attributes", summary="The names of a device's attributes")
async def attribute_keys(kind: Kind, device_id: EntityId, caller: AnyUser) -> list[str]:
    return list(dict.fromkeys(each.key for each in await _attributes(caller, device_id)))


@router.get("/{entityType}/{entityId}/keys/attributes/{scope}", summary="The names of its attributes of a scope")
async def attribute_keys_of_scope(kind: Kind, device_id: EntityId, scope: _Scope, caller: AnyUser) -> list[str]:
    return [each.key for each in await _attributes(caller, device_id, scope)]


@router.get("/{entityType}/{entityId}/values/attributes", summary="A device's attributes")
async def attributes(
    kind: Kind, device_id: EntityId, caller: AnyUser, keys: Keys = None, key: Key = None
) -> list[AttributeJson]:
    return [_attribute_json(each) for each in await _attributes(caller, device_id, None, keys_of(keys, key))]


@router.get("/{entityType}/{entityId}/values/attributes/{scope}", summary="A device's attributes of a scope")
async def attributes_of_scope(
    kind: Kind, device_id: EntityId, scope: _Scope, caller: AnyUser, keys: Keys = None, key: Key = None
) -> list[AttributeJson]:
    return [_attribute_json(each) for each in await _attributes(caller, device_id, scope, keys_of(keys, key))]


async def _attributes(
    caller: Caller, device_id: UUID, scope: str | None = None, keys: Sequence[str] | None = None
) -> Sequence[Attribute]:
    return await caller.read(
        lambda session: timeseries.attributes(session, caller.device(session, device_id).id, scope, keys)
    )


def _attribute_json(each: Attribute) -> AttributeJson:
    return AttributeJson(last_update_ts=each.ts_ms, key=each.key, value=json.loads(each.value))


@router.post("/{deviceId}/{scope}", summary="Set attributes of a device", **_ATTRIBUTES)
async def set_device_attributes(device_id: DeviceId, scope: _Scope, body: RawBody, caller: AnyUser) -> None:
    await _set_attributes(caller, device_id, scope, body)


@router.post("/{entityType}/{entityId}/{scope}", summary="Set attributes", **_ATTRIBUTES)
@router.post("/{entityType}/{entityId}/attributes/{scope}", summary="Set attributes too", **_ATTRIBUTES)
async def set_attributes(kind: Kind, device_id: EntityId, scope: _Scope, body: RawBody, caller: AnyUser) -> None:
    await _set_attributes(caller, device_id, scope, body)


async def _set_attributes(caller: Caller, device_id: UUID, scope: str, body: bytes) -> None:
    if scope == CLIENT_SCOPE:
        raise Refused(f"Invalid scope: {scope}")
    values = await read_large(_read_attributes, body)

    def change(session: Session) -> tuple[Device, None]:
        device = caller.device(session, device_id)
        timeseries.set_attributes(session, device_id, scope, values)
        return device, None

    await caller.change("device.attributes_updated", device_id, change)


def _read_attributes(body: bytes) -> dict[str, Any]:
    """Return attributes as devices read them: from lenient JSON, text that looks like a number as one."""
    try:
        read = json_reader.parse(body, json_reader.number)
    except json_reader.PayloadError as error:
        raise Failed(str(error)) from None
    if not isinstance(read, dict):
        raise Refused("Request is not a JSON object")
    if not read:
        raise Refused("No attributes data found in request body!")
    check_keys(read)
    if None in read.values():
        raise Failed("Can't parse value: null")
    return {key: json_reader.cast(value) for key, value in read.items()}


@router.delete("/{deviceId}/{scope}", summary="Delete attributes of a device", response_class=Response)
async def delete_device_attributes(
    device_id: DeviceId, scope: _Scope, caller: AnyUser, keys: Keys = None, key: Key = None
) -> None:
    await _delete_attributes(caller, device_id, scope, keys_of(keys, key))


@router.delete("/{entityType}/{entityId}/{scope}", summary="Delete attributes", response_class=Response)
async def delete_attributes(
    kind: Kind, device_id: EntityId, scope: _Scope, caller: AnyUser, keys: Keys = None, key: Key = None
) -> None:
    await _delete_attributes(caller, device_id, scope, keys_of(keys, key))


async def _delete_attributes(caller: Caller, device_id: UUID, scope: str, keys: Sequence[str] | None) -> None:
    if keys is None:
        raise Refused("Empty keys: no attribute is named")

    def change(session: Session) -> tuple[Device, None]:
        device = caller.device(session, device_id)
        timeseries.delete_attributes(session, device_id, scope, keys)
        return device, None

    await caller.change("device.attributes_deleted", device_id, change)
