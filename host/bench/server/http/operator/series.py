"""Entries of series for operators: as they are, or summed up by intervals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import timeseries
from bench.registry.aggregation import Aggregation, Intervals, IntervalType, aggregate
from bench.registry.timeseries import DEVICES, Span, Tables
from bench.server import json_writer


@dataclass(frozen=True, kw_only=True)
class SeriesQuery:
    """The entries of series that are wanted."""

    keys: Sequence[str]
    span: Span
    aggregation: Aggregation = Aggregation.NONE
    """With another than NONE, the span's limit and order do not count."""
    step_ms: int = 0
    kind: IntervalType = IntervalType.MILLISECONDS
    zone: ZoneInfo = ZoneInfo("UTC")  # noqa: RUF009 - nobody changes it


def entries_of(
    session: Session, device_ids: Sequence[UUID], wanted: SeriesQuery, tables: Tables = DEVICES
) -> dict[UUID, dict[str, list[tuple[int, str]]]]:
    """Return the entries `(ms since the epoch, JSON text)` of devices, by key; a key without any has an empty list.

    Raises:
        Refused: They are more than one answer may have.
    """
    span = wanted.span
    if wanted.aggregation is Aggregation.NONE:
        timeseries.check_size(session, ((each, key) for each in device_ids for key in wanted.keys), span, tables)
    intervals = Intervals(
        from_ms=span.from_ms,
        to_ms=span.to_ms,
        aggregation=wanted.aggregation,
        step_ms=wanted.step_ms,
        kind=wanted.kind,
        zone=wanted.zone,
    )

    def of(device_id: UUID, key: str) -> list[tuple[int, str]]:
        if wanted.aggregation is Aggregation.NONE:
            return [(each.ts_ms, each.value) for each in timeseries.history(session, device_id, key, span, tables)]
        sums = aggregate(session, device_id, key, intervals, tables.history)
        return [(ts, sum_ if isinstance(sum_, str) else json.dumps(sum_)) for ts, sum_ in sums]

    return {each: {key: of(each, key) for key in wanted.keys} for each in device_ids}


def time_zone_of(name: str) -> ZoneInfo:
    """Return a time zone. Raises Refused."""
    try:
        return ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise Refused("Unknown time-zone ID") from None


def as_text(text: str) -> str:
    """Return a stored value as ThingsBoard's text of it."""
    return text_of(json.loads(text))


def text_of(value: object) -> str:
    """Return a value as ThingsBoard's text of it."""
    return value if isinstance(value, str) else json_writer.write(value).decode()
