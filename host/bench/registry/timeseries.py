"""Attributes by scope, and time series. Values are JSON text in the tables."""

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry.changes import Change
from bench.registry.clock import now_ms
from bench.registry.device_room import KEYS, DeviceRoom, Full, Table
from bench.registry.model import (
    Attribute,
    Base,
    Device,
    EntityAttribute,
    EntityTelemetry,
    EntityTelemetryHistory,
    Telemetry,
    TelemetryHistory,
)
from bench.registry.statements import ROWS, parts

ENTRIES = 100_000
"""Entries of one answer, all series together."""
ENTRIES_SIZE = 16 << 20
"""Characters of their values."""
_LOOKED_AT = 100
"""Devices whose keys stand for those of all."""


@dataclass(frozen=True)
class Tables:
    """The tables that hold values of entities of some kinds, and the column of their ids."""

    attributes: type[Attribute] | type[EntityAttribute]
    latest: type[Telemetry] | type[EntityTelemetry]
    history: type[TelemetryHistory] | type[EntityTelemetryHistory]
    owner: str


DEVICES = Tables(Attribute, Telemetry, TelemetryHistory, "device_id")
OTHERS = Tables(EntityAttribute, EntityTelemetry, EntityTelemetryHistory, "entity_id")


def attribute_rows(
    device_id: uuid.UUID, scope: str, values: dict[str, Any], ts_ms: int, of: Tables = DEVICES
) -> list[dict[str, Any]]:
    """Return the rows of attributes, `{key: value}`."""
    return [
        {of.owner: device_id, "scope": scope, "key": key, "ts_ms": ts_ms, "value": json.dumps(value)}
        for key, value in values.items()
    ]


def save_attributes(
    room: DeviceRoom | None, connection: Connection, items: Sequence[list[dict[str, Any]]], of: Tables = DEVICES
) -> list[Full | None]:
    """Store rows of attributes, of many devices at once (a batch function). A device without room is told so.

    None for the room: they are the server's own, for which there always is some.
    """
    results = [_room_for(room, connection, of, of.attributes, rows) for rows in items]
    stored = [row for rows, full in zip(items, results, strict=True) if not full for row in rows]
    upsert(connection, of.attributes, (of.owner, "scope", "key"), stored)
    return results


def save_telemetry(
    room: DeviceRoom | None,
    connection: Connection,
    items: Sequence[tuple[uuid.UUID, Sequence[tuple[int, str, Any]]]],
    of: Tables = DEVICES,
) -> list[Full | None]:
    """Store entries `(ms since epoch, key, value)` of devices (a batch function). A device without room is told so."""
    history: list[dict[str, Any]] = []
    results = []
    for device_id, entries in items:
        rows = [
            {of.owner: device_id, "key": key, "ts_ms": ts, "value": json.dumps(value)} for ts, key, value in entries
        ]
        full = _room_for(room, connection, of, of.latest, rows)
        history += [] if full else rows
        results.append(full)
    upsert(connection, of.history, (of.owner, "key", "ts_ms"), history)
    # Of entries with one time the later one counts.
    upsert(connection, of.latest, (of.owner, "key"), sorted(history, key=lambda row: row["ts_ms"]), newest=True)
    return results


def _room_for(
    room: DeviceRoom | None,
    connection: Connection,
    of: Tables,
    table: Table,
    rows: list[dict[str, Any]],
) -> Full | None:
    if not rows or room is None:
        return None
    names = ("scope", "key") if table is of.attributes else ("key",)
    sizes = {tuple(row[name] for name in names): len(row["key"]) + len(row["value"]) for row in rows}
    return room.acquire(connection, table, rows[0][of.owner], sizes)


def upsert(
    connection: Connection, table: type[Base], key: tuple[str, ...], rows: list[dict[str, Any]], *, newest: bool = False
) -> None:
    """Insert rows, or overwrite those with the same key; with `newest` only older ones."""
    last = {tuple(row[column] for column in key): row for row in rows}  # one statement must not meet a row twice
    unique = list(last.values())
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for part in parts(unique):
        statement = dialect.insert(table)
        excluded = statement.excluded
        columns = [name for name in ("value", "ts_ms") if name not in key]
        upserting = statement.on_conflict_do_update(
            index_elements=key,
            set_={name: excluded[name] for name in columns},
            where=table.__table__.c.ts_ms <= excluded.ts_ms if newest else None,
        )
        connection.execute(upserting, part)


def attributes(
    session: Session,
    device_id: uuid.UUID,
    scope: str | None = None,
    keys: Iterable[str] | None = None,
    of: Tables = DEVICES,
) -> Sequence[Attribute | EntityAttribute]:
    """Return a device's attributes; only those of one scope and with these keys, if given."""
    table = of.attributes
    statement = select(table).where(table.owner == device_id).order_by(table.scope, table.key)
    if scope is not None:
        statement = statement.where(table.scope == scope)
    names = None if keys is None else set(keys)
    return _among(session.scalars(_narrow(statement, table.key, names)), names)


def changed_attributes(session: Session, device_ids: Sequence[uuid.UUID], since_ms: int) -> Sequence[Attribute]:
    """Return the attributes of these devices that were stored since then."""
    statement = select(Attribute).where(Attribute.device_id.in_(device_ids), Attribute.ts_ms >= since_ms)
    return session.scalars(statement.order_by(Attribute.device_id, Attribute.scope, Attribute.key)).all()


def values(session: Session, device_id: uuid.UUID, wanted: dict[str, list[str] | None]) -> dict[str, dict[str, Any]]:
    """Return the values of a device's attributes by scope, as devices are given them: many, often.

    Args:
        session: The transaction.
        device_id: The device.
        wanted: The keys by scope; None is all of them.
    """
    found: dict[str, dict[str, Any]] = {}
    for scope, keys in wanted.items():
        statement = select(Attribute.key, Attribute.value).where(
            Attribute.device_id == device_id, Attribute.scope == scope
        )
        names = None if keys is None else set(keys)
        rows = _among(session.execute(_narrow(statement.order_by(Attribute.key), Attribute.key, names)), names)
        found[scope] = dict(zip((key for key, _ in rows), _loaded([value for _, value in rows]), strict=True))
    return found


def _loaded(texts: Sequence[str]) -> Iterator[Any]:
    """Yield what stored texts say.

    Many are read at once, which is three times as fast; but not all: the reader keeps other threads out until its end.
    """
    for part in parts(texts):
        yield from json.loads(f"[{','.join(part)}]")


def _narrow(statement: Any, column: Any, names: set[str] | None) -> Any:
    """Return a statement for rows with these keys; for all rows if they are None, or more than a statement takes."""
    return statement if names is None or len(names) > ROWS else statement.where(column.in_(names))


def _among(rows: Iterable[Any], names: set[str] | None) -> list[Any]:
    """Return the rows with these keys, or all."""
    return [each for each in rows if names is None or each.key in names]


def set_attributes(
    session: Session, device_id: uuid.UUID, scope: str, values: dict[str, Any], of: Tables = DEVICES
) -> None:
    """Store attributes, `{key: value}`. Raises Full."""
    now = now_ms()
    rows = attribute_rows(device_id, scope, values, now, of)
    _raise(save_attributes(session.info["room"], session.connection(), [rows], of))
    _note(session, of, Change(device_id, scope, [(now, key, value) for key, value in values.items()]))


def add_telemetry(
    session: Session, device_id: uuid.UUID, entries: Sequence[tuple[int, str, Any]], of: Tables = DEVICES
) -> None:
    """Store entries `(ms since epoch, key, value)` of one device. Raises Full."""
    _raise(save_telemetry(session.info["room"], session.connection(), [(device_id, entries)], of))
    _note(session, of, Change(device_id, None, entries))


def _note(session: Session, of: Tables, change: Change) -> None:
    """Have a device's change told once the transaction is on the disk."""
    if of is DEVICES:
        session.info["changes"].append(change)


def _raise(results: Sequence[Full | None]) -> None:
    for full in results:
        if full is not None:
            raise full


def delete_attributes(
    session: Session, device_id: uuid.UUID, scope: str, keys: Iterable[str], of: Tables = DEVICES
) -> list[str]:
    """Delete attributes; return the keys that existed. Whoever listens is told of all, as ThingsBoard does."""
    table, named, deleted = of.attributes, list(dict.fromkeys(keys)), list[str]()
    for part in parts(named):
        statement = delete(table).where(table.owner == device_id, table.scope == scope, table.key.in_(part))
        deleted += session.scalars(statement.returning(table.key))
    _note(session, of, Change(device_id, scope, deleted=named))
    return sorted(deleted)


def latest(
    session: Session, device_id: uuid.UUID, keys: Iterable[str] | None = None, of: Tables = DEVICES
) -> Sequence[Telemetry | EntityTelemetry]:
    """Return the latest entry of every series, or of these."""
    table = of.latest
    statement = select(table).where(table.owner == device_id).order_by(table.key)
    names = None if keys is None else set(keys)
    return _among(session.scalars(_narrow(statement, table.key, names)), names)


def keys_in_use(session: Session, table: type[Attribute] | type[Telemetry], profile_id: uuid.UUID | None) -> list[str]:
    """Return the keys that devices of a profile have, or any devices: of some devices, as ThingsBoard looks at them."""
    some = select(Device.id).limit(_LOOKED_AT)
    if profile_id is not None:
        some = some.where(Device.profile_id == profile_id)
    found = select(table.key).where(table.device_id.in_(some)).distinct().order_by(table.key).limit(KEYS)
    return list(session.scalars(found))


def delete_series(  # noqa: PLR0913 - where, what, when
    session: Session,
    device_id: uuid.UUID,
    keys: Iterable[str],
    span: tuple[int, int] | None = None,
    *,
    rewrite: bool,
    of: Tables = DEVICES,
) -> None:
    """Delete entries of series.

    Args:
        session: In a transaction that may write.
        device_id: The device.
        keys: The series.
        span: `(from_ms, to_ms)`, the end exclusive; None is all.
        rewrite: A latest entry that was deleted is replaced by the newest that is left.
        of: The tables, if it is not a device.
    """
    gone, rewritten = list[str](), list[tuple[int, str, Any]]()
    for key in keys:
        had_latest = False
        for table in (of.history, of.latest):
            statement = delete(table).where(table.owner == device_id, table.key == key)
            if span is not None:
                statement = statement.where(table.ts_ms >= span[0], table.ts_ms < span[1])
            had_latest = session.execute(statement).rowcount > 0  # type: ignore[attr-defined] # of the last table
        left: Sequence[Any] = ()
        if rewrite and session.get(of.latest, (device_id, key)) is None:
            left = history(session, device_id, key, Span(from_ms=-(1 << 63), to_ms=(1 << 63) - 1, limit=1), of)
            session.add_all(of.latest(**{of.owner: device_id}, key=key, value=e.value, ts_ms=e.ts_ms) for e in left)
        rewritten += [(each.ts_ms, key, json.loads(each.value)) for each in left]
        gone += [key] if had_latest and not left else []
    _note(session, of, Change(device_id, None, rewritten, gone))


def delete_all(session: Session, ids: Iterable[uuid.UUID]) -> None:
    """Delete all values of entities that are not devices, and are gone."""
    session.flush()
    for part in parts(list(ids)):
        for table in (OTHERS.attributes, OTHERS.latest, OTHERS.history):
            session.execute(delete(table).where(table.owner.in_(part)))


@dataclass(frozen=True, kw_only=True)
class Span:
    """The entries of a series that are wanted: `from_ms <= ts < to_ms`, at most `limit`."""

    from_ms: int
    to_ms: int
    limit: int
    descending: bool = True


def history(session: Session, device_id: uuid.UUID, key: str, span: Span, of: Tables = DEVICES) -> Sequence[Any]:
    """Return entries of a series: rows of `ts_ms` and `value`."""
    columns = [of.history.ts_ms, of.history.value]
    return session.execute(_select(of, columns, device_id, key, span)).all()


def check_size(session: Session, series: Iterable[tuple[uuid.UUID, str]], span: Span, of: Tables = DEVICES) -> None:
    """Raise Refused if the entries of these series, `(device, key)`, are more than one answer may have."""
    count = size = 0
    for device_id, key in series:
        found = _select(of, [func.length(of.history.value).label("size")], device_id, key, span).subquery()
        row = session.execute(select(func.count(), func.coalesce(func.sum(found.c.size), 0)).select_from(found)).one()
        count, size = count + row[0], size + int(row[1])
        if count > ENTRIES or size > ENTRIES_SIZE:
            raise Refused(
                f"More than {ENTRIES} entries, or {ENTRIES_SIZE} characters: ask for less time, or for fewer keys"
            )


def _select(of: Tables, columns: Sequence[Any], device_id: uuid.UUID, key: str, span: Span) -> Any:
    table = of.history
    ts = table.ts_ms
    return (
        select(*columns)
        .where(table.owner == device_id, table.key == key)
        .where(ts >= span.from_ms, ts < span.to_ms)
        .order_by(ts.desc() if span.descending else ts.asc())
        .limit(span.limit)
    )
