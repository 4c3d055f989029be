"""Routes of telemetry of devices and other entities."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import timeseries
from bench.registry.aggregation import Aggregation, IntervalType
from bench.registry.audit import Subject
from bench.registry.clock import now_ms
from bench.registry.entities import Entity
from bench.registry.model import EntityTelemetry, Telemetry
from bench.registry.statements import parts
from bench.registry.timeseries import Span
from bench.server import device_json, json_reader
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, Caller, TextRoute
from bench.server.http.operator.bodies import RawBody, read_large
from bench.server.http.operator.schemas.common import Id
from bench.server.http.operator.schemas.telemetry import EntryJson
from bench.server.http.operator.series import SeriesQuery, as_text, entries_of, time_zone_of
from bench.server.http.operator.telemetry_params import (
    INT64,
    PREFIX,
    Key,
    Keys,
    Of,
    action,
    check_keys,
    described,
    keys_of,
    owner,
)
from bench.server.json_writer import compact

router = ApiRouter(TextRoute, "telemetry", PREFIX)

_Any = Annotated[str, Path(alias="scope", description="ThingsBoard wants one, and does not look at it.")]
_Ttl = Annotated[int, Path(alias="ttl", ge=-INT64, le=INT64, description="Seconds.")]
_Strict = Annotated[bool, Query(alias="useStrictDataTypes", description="Values as they are; else as text.")]
_From = Annotated[int | None, Query(alias="startTs", ge=-INT64, le=INT64, description="Milliseconds, inclusive.")]
_To = Annotated[int | None, Query(alias="endTs", ge=-INT64, le=INT64, description="Milliseconds, exclusive.")]
_Entry = tuple[int, Any]
_Series = dict[str, list[_Entry]]
_SERIES = described([{"temperature": 21.5}, {"ts": 1735689600000, "values": {"temperature": 21.5}}])


@router.get("/{entityType}/{entityId}/keys/timeseries", summary="The names of an entity's series")
async def series_keys(of: Of, caller: AnyUser) -> list[str]:
    return [each.key for each in await _rows(caller, of)]


async def _rows(caller: Caller, of: Id, keys: Sequence[str] | None = None) -> Sequence[Telemetry | EntityTelemetry]:
    def read(session: Session) -> Sequence[Telemetry | EntityTelemetry]:
        _, tables = owner(caller, session, of)
        return timeseries.latest(session, of.id, keys, tables)

    return await caller.read(read)


@router.get(
    "/{entityType}/{entityId}/values/timeseries",
    summary="Latest entries; of a time, if one is given",
    response_model=dict[str, list[EntryJson]],
)
@router.get(
    "/{entityType}/{entityId}/values/timeseries/history",
    summary="Entries of a time",
    response_model=dict[str, list[EntryJson]],
)
async def entries(
    of: Of,
    caller: AnyUser,
    keys: Keys = None,
    key: Key = None,
    from_ms: _From = None,
    to_ms: _To = None,
    limit: Annotated[int, Query(ge=1, le=1_000_000)] = 100,
    aggregation: Annotated[Aggregation, Query(alias="agg", description="It needs an interval.")] = Aggregation.NONE,
    interval: Annotated[int, Query(ge=0, le=INT64, description="Milliseconds; at least 1000 count.")] = 0,
    kind_of_interval: Annotated[IntervalType, Query(alias="intervalType")] = IntervalType.MILLISECONDS,
    time_zone: Annotated[str, Query(alias="timeZone", description="Of weeks, months and quarters.")] = "UTC",
    order: Annotated[Literal["ASC", "DESC"], Query(alias="orderBy")] = "DESC",
    strict: _Strict = False,
) -> Response:
    wanted = keys_of(keys, key)
    value = _value if strict else as_text
    if from_ms is None or to_ms is None:
        return await _answer(await _latest(caller, of, wanted, value))
    as_they_are = kind_of_interval is IntervalType.MILLISECONDS and not interval
    query = SeriesQuery(
        keys=wanted or (),
        span=Span(from_ms=from_ms, to_ms=to_ms, limit=limit, descending=order == "DESC"),
        aggregation=Aggregation.NONE if as_they_are else aggregation,
        step_ms=interval,
        kind=kind_of_interval,
        zone=time_zone_of(time_zone),
    )

    def read(session: Session) -> _Series:
        _, tables = owner(caller, session, of)
        found = entries_of(session, [of.id], query, tables)[of.id]
        return {key: [(ts, value(text)) for ts, text in entries] for key, entries in found.items() if entries}

    return await _answer(await caller.read(read))


async def _answer(found: _Series) -> Response:
    """Return the answer, which is written in a thread: it may be long, and FastAPI's own way holds up everybody."""
    return Response(await asyncio.to_thread(_written, found), media_type="application/json")


def _written(found: _Series) -> bytes:
    """Return series as JSON, made of parts: others get their turn between two."""
    series = (f"{compact(key)}:[{','.join(_parts(entries))}]" for key, entries in found.items())
    return f"{{{','.join(series)}}}".encode()


def _parts(entries: list[_Entry]) -> Iterator[str]:
    for part in parts(entries):
        yield compact([{"ts": ts, "value": value} for ts, value in part])[1:-1]


async def _latest(caller: Caller, of: Id, wanted: Sequence[str] | None, value: Callable[[str], Any]) -> _Series:
    """Return the latest entry of every series; one that is requested and does not exist is null, now."""
    found = await _rows(caller, of, wanted)
    absent: _Series = {name: [(now_ms(), None)] for name in wanted or ()}

    def read() -> _Series:
        return absent | {each.key: [(each.ts_ms, value(each.value))] for each in found}

    return await asyncio.to_thread(read)


def _value(text: str) -> Any:
    return json.loads(text)


@router.post("/{entityType}/{entityId}/timeseries/{scope}", summary="Store telemetry", **_SERIES)
async def save_series(of: Of, scope: _Any, body: RawBody, caller: AnyUser) -> None:
    await _save_series(caller, of, body)


@router.post(
    "/{entityType}/{entityId}/timeseries/{scope}/{ttl}",
    summary="Store telemetry; no time to live is kept",
    **_SERIES,
)
async def save_series_for(of: Of, scope: _Any, ttl: _Ttl, body: RawBody, caller: AnyUser) -> None:
    await _save_series(caller, of, body)


async def _save_series(caller: Caller, of: Id, body: bytes) -> None:
    read = await read_large(_read_series, body)

    def change(session: Session) -> tuple[Entity | Subject, None]:
        entity, tables = owner(caller, session, of, writes=True)
        timeseries.add_telemetry(session, of.id, read, tables)
        return entity, None

    await caller.change(action(of, "timeseries_updated"), of.id, change)


def _read_series(body: bytes) -> list[tuple[int, str, Any]]:
    try:
        if b"null" in body:
            _refuse_nulls(json_reader.parse(body))
        read = device_json.read_operator_series(body, now_ms())
    except json_reader.PayloadError as error:
        raise Refused(f"Unable to parse time series payload. Invalid JSON body: {error}") from None
    if not read:
        raise Refused("No time series data found in request body!")
    check_keys({key for _, key, _ in read})
    return read


def _refuse_nulls(read: Any) -> None:
    """Raise BadField if a value of a series is null; one inside of a value is not."""
    for entry in read if isinstance(read, list) else [read]:
        values = entry["values"] if isinstance(entry, dict) and "ts" in entry and "values" in entry else entry
        if isinstance(values, dict) and None in values.values():
            raise json_reader.BadField("Can't parse value: null")


@router.delete("/{entityType}/{entityId}/timeseries/delete", summary="Delete telemetry", response_class=Response)
async def delete_series(
    of: Of,
    caller: AnyUser,
    keys: Keys = None,
    key: Key = None,
    everything: Annotated[bool, Query(alias="deleteAllDataForKeys")] = False,
    from_ms: _From = None,
    to_ms: _To = None,
    rewrite: Annotated[bool, Query(alias="rewriteLatestIfDeleted")] = False,
) -> None:
    wanted = keys_of(keys, key)
    if wanted is None:
        raise Refused("Empty keys: no series is named")
    if not everything and (from_ms is None or to_ms is None):
        raise Refused("When deleteAllDataForKeys is false, start and end timestamp values shouldn't be empty")
    span = None if everything or from_ms is None or to_ms is None else (from_ms, to_ms)

    def change(session: Session) -> tuple[Entity | Subject, None]:
        entity, tables = owner(caller, session, of, writes=True)
        timeseries.delete_series(session, of.id, wanted, span, rewrite=rewrite, of=tables)
        return entity, None

    await caller.change(action(of, "timeseries_deleted"), of.id, change)
