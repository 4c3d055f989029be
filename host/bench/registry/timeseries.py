"""Attributes by scope, and time series. Values are JSON text in the tables."""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bench.registry.clock import now_ms
from bench.registry.model import Attribute, Base, Telemetry, TelemetryHistory

# How many rows one statement gets: a PostgreSQL statement has at most 32,767 parameters.
_ROWS = 1000


def attribute_rows(device_id: uuid.UUID, scope: str, values: dict[str, Any], ts_ms: int) -> list[dict[str, Any]]:
    """Return the rows of attributes, `{key: value}`."""
    return [
        {"device_id": device_id, "scope": scope, "key": key, "ts_ms": ts_ms, "value": json.dumps(value)}
        for key, value in values.items()
    ]


def save_attributes(connection: Connection, items: Sequence[list[dict[str, Any]]]) -> list[None]:
    """Store rows of attributes, of many devices at once (a batch function)."""
    upsert(connection, Attribute, ("device_id", "scope", "key"), [row for rows in items for row in rows])
    return [None] * len(items)


def save_telemetry(
    connection: Connection, items: Sequence[tuple[uuid.UUID, Sequence[tuple[int, str, Any]]]]
) -> list[None]:
    """Store entries `(ms since epoch, key, value)` of devices (a batch function)."""
    history = [
        {"device_id": device_id, "key": key, "ts_ms": ts, "value": json.dumps(value)}
        for device_id, entries in items
        for ts, key, value in entries
    ]
    upsert(connection, TelemetryHistory, ("device_id", "key", "ts_ms"), history)
    # Of entries with one time the later one counts.
    upsert(connection, Telemetry, ("device_id", "key"), sorted(history, key=lambda row: row["ts_ms"]), newest=True)
    return [None] * len(items)


def upsert(
    connection: Connection, table: type[Base], key: tuple[str, ...], rows: list[dict[str, Any]], *, newest: bool = False
) -> None:
    """Insert rows, or overwrite those with the same key; with `newest` only older ones."""
    last = {tuple(row[column] for column in key): row for row in rows}  # one statement must not meet a row twice
    unique = list(last.values())
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for at in range(0, len(unique), _ROWS):
        statement = dialect.insert(table)
        excluded = statement.excluded
        columns = [name for name in ("value", "ts_ms") if name not in key]
        upserting = statement.on_conflict_do_update(
            index_elements=key,
            set_={name: excluded[name] for name in columns},
            where=table.__table__.c.ts_ms <= excluded.ts_ms if newest else None,
        )
        connection.execute(upserting, unique[at : at + _ROWS])


def attributes(
    session: Session, device_id: uuid.UUID, scope: str | None = None, keys: Iterable[str] | None = None
) -> Sequence[Attribute]:
    """Return a device's attributes; only those of one scope and with these keys, if given."""
    statement = select(Attribute).where(Attribute.device_id == device_id).order_by(Attribute.scope, Attribute.key)
    if scope is not None:
        statement = statement.where(Attribute.scope == scope)
    if keys is not None:
        statement = statement.where(Attribute.key.in_(list(keys)))
    return session.scalars(statement).all()


def set_attributes(session: Session, device_id: uuid.UUID, scope: str, values: dict[str, Any]) -> None:
    """Store attributes, `{key: value}`."""
    save_attributes(session.connection(), [attribute_rows(device_id, scope, values, now_ms())])


def delete_attributes(session: Session, device_id: uuid.UUID, scope: str, keys: Iterable[str]) -> list[str]:
    """Delete attributes; return the keys that existed."""
    statement = (
        delete(Attribute)
        .where(Attribute.device_id == device_id, Attribute.scope == scope, Attribute.key.in_(list(keys)))
        .returning(Attribute.key)
    )
    return sorted(session.scalars(statement))


def latest(session: Session, device_id: uuid.UUID, keys: Iterable[str] | None = None) -> Sequence[Telemetry]:
    """Return the latest entry of every series, or of these."""
    statement = select(Telemetry).where(Telemetry.device_id == device_id).order_by(Telemetry.key)
    if keys is not None:
        statement = statement.where(Telemetry.key.in_(list(keys)))
    return session.scalars(statement).all()


def delete_series(
    session: Session, device_id: uuid.UUID, keys: Iterable[str], span: tuple[int, int] | None = None, *, rewrite: bool
) -> None:
    """Delete entries of series.

    Args:
        session: In a transaction that may write.
        device_id: The device.
        keys: The series.
        span: `(from_ms, to_ms)`, the end exclusive; None is all.
        rewrite: A latest entry that was deleted is replaced by the newest that is left.
    """
    for key in keys:
        for table in (TelemetryHistory, Telemetry):
            statement = delete(table).where(table.device_id == device_id, table.key == key)
            if span is not None:
                statement = statement.where(table.ts_ms >= span[0], table.ts_ms < span[1])
            session.execute(statement)
        if rewrite and session.get(Telemetry, (device_id, key)) is None:
            left = history(session, device_id, key, Span(from_ms=-(1 << 63), to_ms=(1 << 63) - 1, limit=1))
            session.add_all(Telemetry(device_id=device_id, key=key, value=e.value, ts_ms=e.ts_ms) for e in left)


@dataclass(frozen=True, kw_only=True)
class Span:
    """The entries of a series that are wanted: `from_ms <= ts < to_ms`, at most `limit`."""

    from_ms: int
    to_ms: int
    limit: int
    descending: bool = True


def history(session: Session, device_id: uuid.UUID, key: str, span: Span) -> Sequence[TelemetryHistory]:
    """Return entries of a series."""
    ts = TelemetryHistory.ts_ms
    statement = (
        select(TelemetryHistory)
        .where(TelemetryHistory.device_id == device_id, TelemetryHistory.key == key)
        .where(ts >= span.from_ms, ts < span.to_ms)
        .order_by(ts.desc() if span.descending else ts.asc())
        .limit(span.limit)
    )
    return session.scalars(statement).all()
