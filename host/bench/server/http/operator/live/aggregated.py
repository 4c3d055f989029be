"""One value of a series for a whole time, and one of another time to compare it with."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from bench.registry.aggregation import Aggregation
from bench.registry.timeseries import Span
from bench.server.http.operator.schemas.websocket import AggregatedKey, AggregatedPart
from bench.server.http.operator.series import SeriesQuery, as_text, entries_of

Sums = dict[UUID, dict[str, Any]]
"""`{"current": ..., "previous": ...}` by the id that the command has for a key, of each device."""

_NOTHING = {"ts": 0, "value": ""}


def latest(session: Session, device_ids: Sequence[UUID], wanted: AggregatedPart) -> Sums:
    """Return the values that a command wants, as ThingsBoard has them."""
    found: Sums = {device_id: {} for device_id in device_ids}
    for key in wanted.keys:
        if not key.previous_value_only:
            _add(session, found, key, "current", (wanted.start_ts, wanted.end_ts))
        start, end = key.previous_start_ts, key.previous_end_ts
        if start is not None and end is not None and end >= start:
            _add(session, found, key, "previous", (start, end))
        for own in found.values():
            own.setdefault(str(key.id), {"current": _NOTHING, "previous": _NOTHING})
    return found


def _add(session: Session, found: Sums, key: AggregatedKey, name: str, times: tuple[int, int]) -> None:
    start, end = times
    span = Span(from_ms=start, to_ms=end, limit=1)
    query = SeriesQuery(keys=[key.key], span=span, aggregation=key.agg, step_ms=end - start)
    for device_id, entries in entries_of(session, list(found), query).items():
        value = found[device_id].setdefault(str(key.id), {"current": None, "previous": None})
        value[name] = _value(entries[key.key], key.agg, start + (end - start) // 2)


def _value(entries: list[tuple[int, str]], kind: Aggregation, middle: int) -> dict[str, Any]:
    if not entries:
        return {"ts": middle, "value": "0"} if kind in {Aggregation.SUM, Aggregation.COUNT} else _NOTHING
    ts, text = entries[0]
    return {"ts": ts, "value": as_text(text)}
