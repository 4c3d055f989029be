"""Entries of a series summed up by intervals, as ThingsBoard's `agg` has it."""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import BigInteger, Float, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry.model import EntityTelemetryHistory, TelemetryHistory

_SHORTEST_MS = 1000
_MOST_INTERVALS = 700
_WEEK = 7
_QUARTER = 3


class Aggregation(StrEnum):
    """A way to sum up the entries of an interval."""

    NONE = "NONE"
    MIN = "MIN"
    MAX = "MAX"
    AVG = "AVG"
    SUM = "SUM"
    COUNT = "COUNT"


class IntervalType(StrEnum):
    """The length of intervals: so many milliseconds, or a week, month or quarter of a time zone."""

    MILLISECONDS = "MILLISECONDS"
    WEEK = "WEEK"
    WEEK_ISO = "WEEK_ISO"
    MONTH = "MONTH"
    QUARTER = "QUARTER"


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """The intervals of a time, `from_ms <= ts < to_ms`."""

    from_ms: int
    to_ms: int
    aggregation: Aggregation
    step_ms: int = 0
    kind: IntervalType = IntervalType.MILLISECONDS
    zone: ZoneInfo = ZoneInfo("UTC")  # noqa: RUF009 - nobody changes it


@dataclass(frozen=True)
class _Series:
    device_id: uuid.UUID
    key: str
    aggregation: Aggregation
    table: type[TelemetryHistory] | type[EntityTelemetryHistory]


def aggregate(
    session: Session,
    device_id: uuid.UUID,
    key: str,
    wanted: Intervals,
    table: type[TelemetryHistory] | type[EntityTelemetryHistory] = TelemetryHistory,
) -> list[tuple[int, Any]]:
    """Return `(ms of its middle, value)` of every interval that has entries, oldest first.

    Raises:
        Refused: There would be too many intervals, or the time has none.
    """
    end = max(wanted.from_ms + 1, wanted.to_ms)
    series = _Series(device_id, key, wanted.aggregation, table)
    if wanted.kind is not IntervalType.MILLISECONDS:
        return [
            (middle, value)
            for start, stop in _calendar(wanted, end)
            for middle, value in _sums(session, series, start, stop, stop - start)
        ]
    step = max(wanted.step_ms, _SHORTEST_MS)
    count = (wanted.to_ms - wanted.from_ms) // step
    if not 0 <= count <= _MOST_INTERVALS:
        raise Refused(
            f"Incorrect TsKvQuery. Number of intervals is to high - {count}. Please increase 'interval' parameter for "
            "your query or reduce the time range of the query."
        )
    return _sums(session, series, wanted.from_ms, end, step)


def _calendar(wanted: Intervals, end: int) -> Iterator[tuple[int, int]]:
    start = wanted.from_ms
    for _ in range(_MOST_INTERVALS):
        if start >= end:
            return
        stop = min(_next(start, wanted), end)
        yield start, stop
        start = stop
    raise Refused("Incorrect TsKvQuery. Number of intervals is to high. Please reduce the time range of the query.")


def _next(ms: int, wanted: Intervals) -> int:
    """Return when the week, month or quarter of a time ends."""
    try:
        day = dt.datetime.fromtimestamp(ms / 1000, wanted.zone).date()
        match wanted.kind:
            case IntervalType.WEEK:  # from Sunday on
                day += dt.timedelta(_WEEK - day.isoweekday() % _WEEK)
            case IntervalType.WEEK_ISO:
                day += dt.timedelta(_WEEK - day.weekday())
            case _:
                months = 1 if wanted.kind is IntervalType.MONTH else _QUARTER - (day.month - 1) % _QUARTER
                year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
                day = dt.date(year, month + 1, 1)
        return int(dt.datetime(day.year, day.month, day.day, tzinfo=wanted.zone).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise Refused("the time is beyond the calendar") from None


def _sums(session: Session, series: _Series, start: int, end: int, step: int) -> list[tuple[int, Any]]:
    """Return the sums of equal intervals; the last one may be shorter."""
    table = series.table
    value, ts = table.value, table.ts_ms
    first = func.substr(value, 1, 1)
    is_text, is_json, is_bool = first == '"', first.in_(["{", "["]), first.in_(["t", "f"])
    is_number = first.in_([*"-0123456789"])
    is_double = and_(is_number, or_(value.contains("."), value.contains("e")))
    is_long = and_(is_number, ~is_double)
    double, long = case((is_double, cast(value, Float))), case((is_long, cast(value, BigInteger)))
    text = case((is_text, value))
    number = (ts - start) // step

    def count(condition: Any) -> Any:
        return func.sum(case((condition, 1), else_=0))

    statement = (
        select(
            number.label("number"),
            count(is_bool).label("bools"),
            count(is_text).label("texts"),
            count(is_json).label("jsons"),
            count(is_long).label("longs"),
            count(is_double).label("doubles"),
            func.sum(case((is_number, cast(value, Float)))).label("total"),
            *(
                aggregate(column).label(f"{name}_{kind}")
                for name, aggregate in (("min", func.min), ("max", func.max))
                for kind, column in (("long", long), ("double", double), ("text", text))
            ),
        )
        .where(table.owner == series.device_id, table.key == series.key)
        .where(ts >= start, ts < end)
        .group_by("number")
        .order_by("number")
    )
    found = []
    for row in session.execute(statement):
        begin = start + row.number * step
        sum_ = _value(row, series.aggregation)
        if sum_ is not None:
            found.append((begin + (min(begin + step, end) - begin) // 2, sum_))
    return found


def _value(row: Any, aggregation: Aggregation) -> Any:
    """Return the sum of an interval; None if it has no numbers, and needs some. Text is JSON text."""
    numbers = row.longs + row.doubles
    if aggregation is Aggregation.COUNT:
        return row.bools or row.texts or row.jsons or numbers
    if aggregation in {Aggregation.MIN, Aggregation.MAX}:
        return _extreme(row, aggregation)
    if not numbers:
        return None
    if aggregation is Aggregation.AVG:
        return row.total / numbers
    return row.total if row.doubles else int(row.total)


def _extreme(row: Any, aggregation: Aggregation) -> Any:
    name, choose = ("min", min) if aggregation is Aggregation.MIN else ("max", max)
    long, double = getattr(row, f"{name}_long"), getattr(row, f"{name}_double")
    if row.longs and row.doubles:
        return choose(float(long), double)
    if row.longs or row.doubles:
        return double if row.doubles else long
    return getattr(row, f"{name}_text")
