"""Pruning of telemetry history, finished calls and the audit trail: what is beyond its age or size, the oldest first.

It is deleted in transactions of at most so many rows, each in its turn among the devices' own: nobody waits
longer for a commit. The latest values of devices stay, however old they are.

A profile's history has a size of its own, which its devices share, and a device's series share the device's part: who
sends too much loses their own oldest values, and nobody else any.
"""

import math
import uuid
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, not_, select, text, tuple_
from sqlalchemy.orm import Session

from bench.registry.audit import DEVICE
from bench.registry.model import Audit, Device, EntityTelemetryHistory, PersistentCall, Profile, TelemetryHistory
from bench.registry.registry import Registry
from bench.registry.retention import DAYS, MEGABYTES, Retention

K = TypeVar("K", bound=Hashable)
Series = tuple[uuid.UUID, str]
"""A device and a key."""
History = type[TelemetryHistory] | type[EntityTelemetryHistory]

# Rows of one transaction, which takes some 10 ms.
_ROWS = 1_000
# Series that one query returns.
_SERIES = 1_000
_DAY_MS = 86_400_000
_MB = 1 << 20
# Of a row and its entry in the index, besides its key (twice) and its value.
_ROW_BYTES = 100
# Pruned a little further than necessary, and so less often.
_ROOM = 0.9
# Rows of changes that operators made. Strangers can cause the others, and must not push these out.
_CHANGES = and_(Audit.who != DEVICE, Audit.result == "SUCCESS")


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Numbers of rows that were deleted."""

    history: int
    calls: int
    audit: int


async def prune(registry: Registry, rules: Retention, now_ms: int) -> Pruned:
    """Delete what is beyond its age or size, in small transactions.

    Args:
        registry: The registry.
        rules: What is kept; profiles may have other numbers in their details.
        now_ms: The time, in milliseconds since the epoch.
    """
    history = 0
    for profile_id, details in await registry.read(_profiles):
        days = _number(details.get(DAYS), rules.history_days)
        if days:
            history += await _prune_aged(registry, profile_id, now_ms - int(days * _DAY_MS))
        limit = _number(details.get(MEGABYTES), rules.history_mb) * _MB
        if limit and await registry.read(_used_bytes) > limit:
            history += await _prune_excess(registry, await registry.read(_sizes, profile_id), limit)
    history += await _prune_others(registry, rules, now_ms)
    calls = await _prune_calls(registry, rules, now_ms)
    return Pruned(history=history, calls=calls, audit=await _prune_audit(registry, rules, now_ms))


def _number(own: Any, usual: float) -> float:
    return own if isinstance(own, int | float) and own >= 0 else usual


def _profiles(session: Session) -> list[tuple[uuid.UUID, dict[str, Any]]]:
    return [(profile_id, details) for profile_id, details in session.execute(select(Profile.id, Profile.details))]


# History by age.


async def _prune_aged(registry: Registry, profile_id: uuid.UUID, before_ms: int) -> int:
    deleted = 0
    while series := await registry.read(_aged, profile_id, before_ms):
        at = 0
        while at < len(series):
            rows, finished = await registry.write(_delete_aged, series[at:], before_ms)
            deleted, at = deleted + rows, at + finished
    return deleted


def _aged(session: Session, profile_id: uuid.UUID, before_ms: int) -> list[Series]:
    """Return series of a profile with values from before a time, some at a time."""
    history = TelemetryHistory
    statement = (
        select(history.device_id, history.key)
        .join(Device, Device.id == history.device_id)
        .where(Device.profile_id == profile_id, history.ts_ms < before_ms)
        .group_by(history.device_id, history.key)
        .limit(_SERIES)
    )
    return [(device_id, key) for device_id, key in session.execute(statement)]


def _delete_aged(session: Session, series: Sequence[Series], before_ms: int) -> tuple[int, int]:
    """Delete values from before a time; return the numbers of rows, and of series that have none left."""
    deleted = 0
    for finished, each in enumerate(series):
        room = _ROWS - deleted
        if room <= 0:
            return deleted, finished
        last = _time_at(session, each, room)
        cut = last is not None and last < before_ms
        deleted += _delete_before(session, each, last if cut and last is not None else before_ms)
        if cut:
            return deleted, finished
    return deleted, len(series)


def _time_at(session: Session, series: Series, position: int, history: History = TelemetryHistory) -> int | None:
    """Return the time of a series' value at a position, from 0, the oldest first; None if it has fewer."""
    device_id, key = series
    statement = select(history.ts_ms).where(history.owner == device_id, history.key == key)
    found: int | None = session.scalar(statement.order_by(history.ts_ms).offset(position).limit(1))
    return found


def _delete_before(session: Session, series: Series, before_ms: int, history: History = TelemetryHistory) -> int:
    device_id, key = series
    return _count(
        session,
        delete(history).where(history.owner == device_id, history.key == key, history.ts_ms < before_ms),
    )


def _count(session: Session, statement: Any) -> int:
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


# History by size.


def _used_bytes(session: Session) -> int:
    """Return the size of everything, which the history of no profile and of no kind exceeds: cheap to find out."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        sizes = "pg_total_relation_size('telemetry_history') + pg_total_relation_size('entity_telemetry_history')"
        return int(session.scalar(text(f"SELECT {sizes}")) or 0)
    pages, free, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


async def _prune_excess(
    registry: Registry,
    sizes: Mapping[Series, tuple[int, int]],
    limit: float,
    history: History = TelemetryHistory,
) -> int:
    deleted = 0
    for series, rows in _excess(sizes, limit).items():
        left = rows
        while left > 0 and (done := await registry.write(_delete_oldest, series, min(left, _ROWS), history)):
            deleted, left = deleted + done, left - done
    return deleted


def _sizes(
    session: Session, profile_id: uuid.UUID | None, history: History = TelemetryHistory
) -> dict[Series, tuple[int, int]]:
    """Return the rows and the estimated bytes of each series: of a profile's devices, or of all in the table."""
    size = func.sum(func.length(history.value) + 2 * func.length(history.key) + _ROW_BYTES)
    statement = select(history.owner, history.key, func.count(), size).group_by(history.owner, history.key)
    if profile_id is not None:
        statement = statement.join(Device, Device.id == history.owner).where(Device.profile_id == profile_id)
    return {(owner, key): (rows, int(found)) for owner, key, rows, found in session.execute(statement)}


def _excess(sizes: Mapping[Series, tuple[int, int]], limit: float) -> dict[Series, int]:
    """Return how many of its oldest rows each series has to lose."""
    devices: dict[uuid.UUID, dict[Series, int]] = {}
    for series, (_, size) in sizes.items():
        devices.setdefault(series[0], {})[series] = size
    totals = {device_id: sum(own.values()) for device_id, own in devices.items()}
    if sum(totals.values()) <= limit:
        return {}
    part = share(totals, limit * _ROOM)
    excess: dict[Series, int] = {}
    for device_id, own in devices.items():
        if totals[device_id] > part:
            most = share(own, part)
            larger = ((series, size) for series, size in own.items() if size > most)
            excess |= {series: math.ceil(sizes[series][0] * (1 - most / size)) for series, size in larger}
    return excess


def share(sizes: Mapping[K, float], limit: float) -> float:
    """Return the size that everyone may have so that all together have the limit: the small ones keep all they have."""
    left = limit
    for position, size in enumerate(sorted(sizes.values())):
        fair = left / (len(sizes) - position)
        if size > fair:
            return fair
        left -= size
    return math.inf


def _delete_oldest(session: Session, series: Series, rows: int, history: History = TelemetryHistory) -> int:
    """Delete so many of a series' oldest values; return the number of them."""
    end = _time_at(session, series, rows, history)
    return _delete_before(session, series, (1 << 63) - 1 if end is None else end, history)


# History of entities that are not devices: all of them together have as much as one profile.


async def _prune_others(registry: Registry, rules: Retention, now_ms: int) -> int:
    deleted = 0
    if rules.history_days:
        before_ms = now_ms - int(rules.history_days * _DAY_MS)
        while done := await registry.write(_delete_aged_others, before_ms):
            deleted += done
    limit = rules.history_mb * _MB
    if limit and await registry.read(_used_bytes) > limit:
        sizes = await registry.read(_sizes, None, EntityTelemetryHistory)
        deleted += await _prune_excess(registry, sizes, limit, EntityTelemetryHistory)
    return deleted


def _delete_aged_others(session: Session, before_ms: int) -> int:
    history = EntityTelemetryHistory
    key = (history.entity_id, history.key, history.ts_ms)
    some = select(*key).where(history.ts_ms < before_ms).limit(_ROWS)
    return _count(session, delete(history).where(tuple_(*key).in_(some)))


# Persistent calls that are over.


async def _prune_calls(registry: Registry, rules: Retention, now_ms: int) -> int:
    deleted = 0
    if rules.calls_days:
        before_ms = now_ms - int(rules.calls_days * _DAY_MS)
        first_kept = await registry.read(_first_call, before_ms)
        while done := await registry.write(_delete_calls, before_ms, first_kept):
            deleted += done
    return deleted


def _first_call(session: Session, since_ms: int) -> int | None:
    """Return the number of the first call since a time: only the older ones are looked at."""
    call = PersistentCall
    found: int | None = session.scalar(
        select(call.number).where(call.created_ms >= since_ms).order_by(call.number).limit(1)
    )
    return found


def _delete_calls(session: Session, before_ms: int, first_kept: int | None) -> int:
    call = PersistentCall
    old = select(call.number).where(call.created_ms < before_ms, call.is_open.is_(False))
    if first_kept is not None:
        old = old.where(call.number < first_kept)
    return _count(session, delete(call).where(call.number.in_(old.order_by(call.number).limit(_ROWS))))


# The audit trail.


async def _prune_audit(registry: Registry, rules: Retention, now_ms: int) -> int:
    deleted = 0
    if rules.audit_days:
        aged = Audit.ts_ms < now_ms - int(rules.audit_days * _DAY_MS)
        deleted += await _delete_rows(registry, aged)
    if rules.audit_rows:
        for which in (_CHANGES, not_(_CHANGES)):
            last = await registry.read(_id_at, which, rules.audit_rows)
            if last is not None:
                deleted += await _delete_rows(registry, and_(which, Audit.id <= last))
    return deleted


def _id_at(session: Session, which: ColumnElement[bool], position: int) -> int | None:
    """Return the id of a row at a position among some, from 0, the newest first; None if there are fewer."""
    newest = session.scalar(select(func.max(Audit.id))) or 0
    oldest = session.scalar(select(func.min(Audit.id))) or 0
    if newest - oldest < position:  # without a look at the rows
        return None
    found: int | None = session.scalar(
        select(Audit.id).where(which).order_by(Audit.id.desc()).offset(position).limit(1)
    )
    return found


async def _delete_rows(registry: Registry, which: ColumnElement[bool]) -> int:
    deleted = 0
    while done := await registry.write(_delete_some_rows, which):
        deleted += done
    return deleted


def _delete_some_rows(session: Session, which: ColumnElement[bool]) -> int:
    some = select(Audit.id).where(which).order_by(Audit.id).limit(_ROWS)
    return _count(session, delete(Audit).where(Audit.id.in_(some)))
