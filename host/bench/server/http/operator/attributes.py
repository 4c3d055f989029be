"""Routes of attributes of devices and other entities."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Path, Response
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import timeseries
from bench.registry.audit import Subject
from bench.registry.entities import Entity
from bench.registry.model import CLIENT_SCOPE, Attribute, EntityAttribute
from bench.server import json_reader
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, Caller, TextRoute
from bench.server.http.operator.bodies import RawBody, read_large
from bench.server.http.operator.errors import Failed
from bench.server.http.operator.params import DeviceId
from bench.server.http.operator.schemas.common import Id
from bench.server.http.operator.schemas.telemetry import AttributeJson
from bench.server.http.operator.telemetry_params import (
    PREFIX,
    Key,
    Keys,
    Of,
    action,
    check_keys,
    described,
    device,
    keys_of,
    owner,
)
from bench.server.json_writer import compact

router = ApiRouter(TextRoute, "telemetry", PREFIX)

_Scope = Annotated[Literal["CLIENT_SCOPE", "SHARED_SCOPE", "SERVER_SCOPE"], Path(alias="scope")]
_ATTRIBUTES = described({"target": 21.5, "mode": "auto"})


@router.get("/{entityType}/{entityId}/keys/attributes", summary="The names of an entity's attributes")
async def attribute_keys(of: Of, caller: AnyUser) -> list[str]:
    return list(dict.fromkeys(each.key for each in await _attributes(caller, of)))


@router.get("/{entityType}/{entityId}/keys/attributes/{scope}", summary="The names of its attributes of a scope")
async def attribute_keys_of_scope(of: Of, scope: _Scope, caller: AnyUser) -> list[str]:
    return [each.key for each in await _attributes(caller, of, scope)]


@router.get(
    "/{entityType}/{entityId}/values/attributes", summary="An entity's attributes", response_model=list[AttributeJson]
)
async def attributes(of: Of, caller: AnyUser, keys: Keys = None, key: Key = None) -> Response:
    return await _values(caller, of, None, keys_of(keys, key))


@router.get(
    "/{entityType}/{entityId}/values/attributes/{scope}",
    summary="An entity's attributes of a scope",
    response_model=list[AttributeJson],
)
async def attributes_of_scope(of: Of, scope: _Scope, caller: AnyUser, keys: Keys = None, key: Key = None) -> Response:
    return await _values(caller, of, scope, keys_of(keys, key))


async def _values(caller: Caller, of: Id, scope: str | None, keys: Sequence[str] | None) -> Response:
    """Return the answer, which is written in a thread: it may be long, and FastAPI's own way holds up everybody."""
    found = await _attributes(caller, of, scope, keys)
    return Response(await asyncio.to_thread(_written, found), media_type="application/json")


def _written(found: Sequence[Attribute | EntityAttribute]) -> bytes:
    each: list[dict[str, Any]] = [
        {"lastUpdateTs": row.ts_ms, "key": row.key, "value": json.loads(row.value)} for row in found
    ]
    return compact(each).encode()


async def _attributes(
    caller: Caller, of: Id, scope: str | None = None, keys: Sequence[str] | None = None
) -> Sequence[Attribute | EntityAttribute]:
    def read(session: Session) -> Sequence[Attribute | EntityAttribute]:
        _, tables = owner(caller, session, of)
        return timeseries.attributes(session, of.id, scope, keys, tables)

    return await caller.read(read)


@router.post("/{deviceId}/{scope}", summary="Set attributes of a device", **_ATTRIBUTES)
async def set_device_attributes(device_id: DeviceId, scope: _Scope, body: RawBody, caller: AnyUser) -> None:
    await _set_attributes(caller, device(device_id), scope, body)


@router.post("/{entityType}/{entityId}/{scope}", summary="Set attributes", **_ATTRIBUTES)
@router.post("/{entityType}/{entityId}/attributes/{scope}", summary="Set attributes too", **_ATTRIBUTES)
async def set_attributes(of: Of, scope: _Scope, body: RawBody, caller: AnyUser) -> None:
    await _set_attributes(caller, of, scope, body)


async def _set_attributes(caller: Caller, of: Id, scope: str, body: bytes) -> None:
    if scope == CLIENT_SCOPE:
        raise Refused(f"Invalid scope: {scope}")
    values = await read_large(_read_attributes, body)

    def change(session: Session) -> tuple[Entity | Subject, None]:
        entity, tables = owner(caller, session, of, writes=True)
        timeseries.set_attributes(session, of.id, scope, values, tables)
        return entity, None

    await caller.change(action(of, "attributes_updated"), of.id, change)


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
    await _delete_attributes(caller, device(device_id), scope, keys_of(keys, key))


@router.delete("/{entityType}/{entityId}/{scope}", summary="Delete attributes", response_class=Response)
async def delete_attributes(of: Of, scope: _Scope, caller: AnyUser, keys: Keys = None, key: Key = None) -> None:
    await _delete_attributes(caller, of, scope, keys_of(keys, key))


async def _delete_attributes(caller: Caller, of: Id, scope: str, keys: Sequence[str] | None) -> None:
    if keys is None:
        raise Refused("Empty keys: no attribute is named")

    def change(session: Session) -> tuple[Entity | Subject, None]:
        entity, tables = owner(caller, session, of, writes=True)
        timeseries.delete_attributes(session, of.id, scope, keys, tables)
        return entity, None

    await caller.change(action(of, "attributes_deleted"), of.id, change)
