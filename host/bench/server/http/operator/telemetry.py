"""Routes of attributes and telemetry of devices."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Path, Query, Request, Response
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import timeseries
from bench.registry.clock import now_ms
from bench.registry.model import SHARED_SCOPE, Attribute
from bench.registry.timeseries import Span
from bench.server import device_json, json_reader
from bench.server.http.operator.authorization import AnyUser, Caller, TextRoute
from bench.server.http.operator.params import DeviceId, comma_separated
from bench.server.http.operator.schemas.telemetry import AttributeJson, EntryJson

router = APIRouter(route_class=TextRoute, prefix="/plugins/telemetry", tags=["telemetry"])

_KEY_LIMIT = 255
_INT64 = (1 << 63) - 1

# Of what ThingsBoard keeps these for, devices are all there is here.
_Kind = Annotated[Literal["DEVICE"], Path(alias="entityType")]
_EntityId = Annotated[UUID, Path(alias="entityId")]
_Scope = Annotated[Literal["CLIENT_SCOPE", "SHARED_SCOPE", "SERVER_SCOPE"], Path(alias="scope")]
_Written = Annotated[Literal["SHARED_SCOPE", "SERVER_SCOPE"], Path(alias="scope")]
_Keys = Annotated[str | None, Query(alias="keys", description="Names, separated by commas.")]
_Key = Annotated[list[str] | None, Query(alias="key", description="A name, as it is; as often as wanted.")]
_Strict = Annotated[bool, Query(alias="useStrictDataTypes", description="Values as they are; else as text.")]
_From = Annotated[int | None, Query(alias="startTs", ge=-_INT64, le=_INT64, description="Milliseconds, inclusive.")]
_To = Annotated[int | None, Query(alias="endTs", ge=-_INT64, le=_INT64, description="Milliseconds, exclusive.")]
_Values = Annotated[dict[str, Any], Body(examples=[{"target": 21.5, "mode": "auto"}])]
_Series = Annotated[Any, Body(examples=[{"temperature": 21.5}, {"ts": 1735689600000, "values": {"temperature": 21.5}}])]


def _keys(keys: str | None, each: list[str] | None) -> Sequence[str] | None:
    """Return the names that are requested; None is all."""
    return [*comma_separated(keys), *(each or ())] or None


# Attributes.


@router.get("/{entityType}/{entityId}/keys/attributes", summary="The names of a device's attributes")
async def attribute_keys(kind: _Kind, device_id: _EntityId, caller: AnyUser) -> list[str]:
    return list(dict.fromkeys(each.key for each in await _attributes(caller, device_id)))


@router.get("/{entityType}/{entityId}/keys/attributes/{scope}", summary="The names of its attributes of a scope")
async def attribute_keys_of_scope(kind: _Kind, device_id: _EntityId, scope: _Scope, caller: AnyUser) -> list[str]:
    return [each.key for each in await _attributes(caller, device_id, scope)]


@router.get("/{entityType}/{entityId}/values/attributes", summary="A device's attributes")
async def attributes(
    kind: _Kind, device_id: _EntityId, caller: AnyUser, keys: _Keys = None, key: _Key = None
) -> list[AttributeJson]:
    return [_attribute_json(each) for each in await _attributes(caller, device_id, None, _keys(keys, key))]


@router.get("/{entityType}/{entityId}/values/attributes/{scope}", summary="A device's attributes of a scope")
async def attributes_of_scope(
    kind: _Kind, device_id: _EntityId, scope: _Scope, caller: AnyUser, keys: _Keys = None, key: _Key = None
) -> list[AttributeJson]:
    return [_attribute_json(each) for each in await _attributes(caller, device_id, scope, _keys(keys, key))]


async def _attributes(
    caller: Caller, device_id: UUID, scope: str | None = None, keys: Sequence[str] | None = None
) -> Sequence[Attribute]:
    return await caller.read(
        lambda session: timeseries.attributes(session, caller.device(session, device_id).id, scope, keys)
    )


def _attribute_json(each: Attribute) -> AttributeJson:
    return AttributeJson(last_update_ts=each.ts_ms, key=each.key, value=json.loads(each.value))


@router.post("/{deviceId}/{scope}", summary="Set attributes of a device", response_class=Response)
async def set_device_attributes(device_id: DeviceId, scope: _Written, values: _Values, caller: AnyUser) -> None:
    await _set_attributes(caller, device_id, scope, values)


@router.post("/{entityType}/{entityId}/{scope}", summary="Set attributes", response_class=Response)
@router.post("/{entityType}/{entityId}/attributes/{scope}", summary="Set attributes too", response_class=Response)
async def set_attributes(kind: _Kind, device_id: _EntityId, scope: _Written, values: _Values, caller: AnyUser) -> None:
    await _set_attributes(caller, device_id, scope, values)


async def _set_attributes(caller: Caller, device_id: UUID, scope: str, sent: dict[str, Any]) -> None:
    values = {key: value for key, value in sent.items() if value is not None}
    if not values:
        raise Refused("No attributes data found in request body!")
    _check_keys(values)

    def change(session: Session) -> tuple[str, None]:
        device = caller.device(session, device_id)
        timeseries.set_attributes(session, device_id, scope, values)
        return device.name, None

    await caller.change("device.attributes_updated", str(device_id), change)
    if scope == SHARED_SCOPE:
        caller.api.presence.notify_attributes(device_id, values, [])


def _check_keys(keys: Any) -> None:
    if not all(key.strip() for key in keys):
        raise Refused("Key cannot be empty or contains only spaces")
    if any(len(key) > _KEY_LIMIT for key in keys):
        raise Refused(f"Key must have at most {_KEY_LIMIT} characters")


@router.delete("/{deviceId}/{scope}", summary="Delete attributes of a device", response_class=Response)
async def delete_device_attributes(
    device_id: DeviceId, scope: _Scope, caller: AnyUser, keys: _Keys = None, key: _Key = None
) -> None:
    await _delete_attributes(caller, device_id, scope, _keys(keys, key))


@router.delete("/{entityType}/{entityId}/{scope}", summary="Delete attributes", response_class=Response)
async def delete_attributes(
    kind: _Kind, device_id: _EntityId, scope: _Scope, caller: AnyUser, keys: _Keys = None, key: _Key = None
) -> None:
    await _delete_attributes(caller, device_id, scope, _keys(keys, key))


async def _delete_attributes(caller: Caller, device_id: UUID, scope: str, keys: Sequence[str] | None) -> None:
    if keys is None:
        raise Refused("Empty keys: no attribute is named")

    def change(session: Session) -> tuple[str, list[str]]:
        device = caller.device(session, device_id)
        return device.name, timeseries.delete_attributes(session, device_id, scope, keys)

    deleted = await caller.change("device.attributes_deleted", str(device_id), change)
    if scope == SHARED_SCOPE and deleted:
        caller.api.presence.notify_attributes(device_id, {}, deleted)


# Telemetry.


@router.get("/{entityType}/{entityId}/keys/timeseries", summary="The names of a device's series")
async def series_keys(kind: _Kind, device_id: _EntityId, caller: AnyUser) -> list[str]:
    found = await caller.read(lambda session: timeseries.latest(session, caller.device(session, device_id).id))
    return [each.key for each in found]


@router.get("/{entityType}/{entityId}/values/timeseries", summary="Latest entries; of a time, if one is given")
@router.get("/{entityType}/{entityId}/values/timeseries/history", summary="Entries of a time")
async def entries(
    kind: _Kind,
    device_id: _EntityId,
    caller: AnyUser,
    keys: _Keys = None,
    key: _Key = None,
    from_ms: _From = None,
    to_ms: _To = None,
    limit: Annotated[int, Query(ge=1, le=1_000_000)] = 100,
    agg: Annotated[Literal["NONE"], Query(description="Entries are given as they are.")] = "NONE",
    order: Annotated[Literal["ASC", "DESC"], Query(alias="orderBy")] = "DESC",
    strict: _Strict = False,
) -> dict[str, list[EntryJson]]:
    wanted = _keys(keys, key)
    value = _value if strict else _text
    if from_ms is None or to_ms is None:
        return await _latest(caller, device_id, wanted, value)
    span = Span(from_ms=from_ms, to_ms=to_ms, limit=limit, descending=order == "DESC")

    def read(session: Session) -> dict[str, list[EntryJson]]:
        device = caller.device(session, device_id)
        found = {each: timeseries.history(session, device.id, each, span) for each in wanted or ()}
        return {
            name: [EntryJson(ts=each.ts_ms, value=value(each.value)) for each in rows]
            for name, rows in found.items()
            if rows
        }

    return await caller.read(read)


async def _latest(
    caller: Caller, device_id: UUID, wanted: Sequence[str] | None, value: Callable[[str], Any]
) -> dict[str, list[EntryJson]]:
    """Return the latest entry of every series; one that is requested and does not exist is null, now."""
    found = await caller.read(lambda session: timeseries.latest(session, caller.device(session, device_id).id, wanted))
    absent = {name: [EntryJson(ts=now_ms(), value=None)] for name in wanted or ()}
    return absent | {each.key: [EntryJson(ts=each.ts_ms, value=value(each.value))] for each in found}


def _value(text: str) -> Any:
    return json.loads(text)


def _text(text: str) -> str:
    value = json.loads(text)
    return value if isinstance(value, str) else text


@router.post("/{entityType}/{entityId}/timeseries/{scope}", summary="Store telemetry", response_class=Response)
async def save_series(kind: _Kind, device_id: _EntityId, body: _Series, caller: AnyUser, request: Request) -> None:
    try:
        read = device_json.read_series(await request.body(), now_ms())
    except json_reader.PayloadError as error:
        raise Refused(f"Unable to parse time series payload. Invalid JSON body: {error}") from None
    if not read:
        raise Refused("No time series data found in request body!")
    _check_keys([key for _, key, _ in read])

    def change(session: Session) -> tuple[str, None]:
        device = caller.device(session, device_id)
        timeseries.save_telemetry(session.connection(), [(device.id, read)])
        return device.name, None

    await caller.change("device.timeseries_updated", str(device_id), change)


@router.delete("/{entityType}/{entityId}/timeseries/delete", summary="Delete telemetry", response_class=Response)
async def delete_series(
    kind: _Kind,
    device_id: _EntityId,
    caller: AnyUser,
    keys: _Keys = None,
    key: _Key = None,
    everything: Annotated[bool, Query(alias="deleteAllDataForKeys")] = False,
    from_ms: _From = None,
    to_ms: _To = None,
    rewrite: Annotated[bool, Query(alias="rewriteLatestIfDeleted")] = False,
) -> None:
    wanted = _keys(keys, key)
    if wanted is None:
        raise Refused("Empty keys: no series is named")
    if not everything and (from_ms is None or to_ms is None):
        raise Refused("When deleteAllDataForKeys is false, start and end timestamp values shouldn't be empty")
    span = None if everything or from_ms is None or to_ms is None else (from_ms, to_ms)

    def change(session: Session) -> tuple[str, None]:
        device = caller.device(session, device_id)
        timeseries.delete_series(session, device.id, wanted, span, rewrite=rewrite)
        return device.name, None

    await caller.change("device.timeseries_deleted", str(device_id), change)
