"""Devices that a query finds: their values followed, or their number."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from bench.registry import devices
from bench.registry.aggregation import IntervalType
from bench.registry.changes import Change
from bench.registry.device_query import KINDS
from bench.registry.devices import DevicePageQuery
from bench.server.http.operator import entity_query
from bench.server.http.operator.live import aggregated, updates
from bench.server.http.operator.live.client import VALUES, Client, Followed
from bench.server.http.operator.live.updates import ENTITIES, CommandRefused
from bench.server.http.operator.live.values import series_query
from bench.server.http.operator.params import listed
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.schemas.entity_query import CountQuery, DataQuery, EntityData
from bench.server.http.operator.schemas.websocket import AggregatedPart, EntityDataCommand, HistoryPart, SeriesPart
from bench.server.http.operator.series import SeriesQuery, as_text, entries_of, text_of, time_zone_of

_SERIES, _ANY_SCOPE = "TIME_SERIES", "ATTRIBUTE"
_Entries = dict[UUID, dict[str, list[dict[str, Any]]]]


class EntitiesFollowed(Followed):
    """The devices that a query finds, with values that are followed."""

    def __init__(self, client: Client, command: int) -> None:
        super().__init__(client)
        self._id = command
        self._query: DataQuery | None = None
        self._command: EntityDataCommand | None = None
        self._found: tuple[list[entity_query.Row], int] = [], 0
        self._reported = False
        self._latest: dict[str, set[str]] = {}
        self._series: set[str] = set()
        self._known: dict[tuple[UUID, str, str], tuple[int, str]] = {}

    async def begin(self, command: EntityDataCommand) -> list[str]:
        """Begin to follow what a command wants, or something else than before; return the answers."""
        parts = (command.history_cmd, command.latest_cmd, command.ts_cmd, command.agg_history_cmd)
        if command.query is None and (self._query is None or not any(parts)):
            raise CommandRefused("Query is empty!")
        query = command.query or self._query
        assert query is not None
        self._query = self._with_latest(query, command)
        if command.query is not None:
            self._found = await self._find()
            self._reported = False
        self._command = command
        return await self._begin(command.history_cmd, command.agg_history_cmd)

    async def refresh(self) -> None:
        """Say so if the query finds other devices now."""
        if self._command is None or self._query is None or not self._query.page_link.dynamic:
            return
        found = await self._find()
        if {row[0].id for row in found[0]} != {row[0].id for row in self._found[0]}:
            self._found, self._reported = found, False
            place = self._client.outbox.reserve()
            texts: list[str] = []
            try:
                texts = await self._begin()
            finally:
                place.set_result(texts)

    def _with_latest(self, query: DataQuery, command: EntityDataCommand) -> DataQuery:
        added = [
            key for key in (command.latest_cmd.keys if command.latest_cmd else ()) if key not in query.latest_values
        ]
        link = query.page_link.model_copy(update={"page_size": min(query.page_link.page_size, ENTITIES)})
        return query.model_copy(update={"latest_values": [*query.latest_values, *added], "page_link": link})

    async def _find(self) -> tuple[list[entity_query.Row], int]:
        assert self._query is not None
        wanted = entity_query.wanted_page(self._client.caller, self._query)

        def read(session: Session) -> tuple[list[entity_query.Row], int]:
            rows, total = devices.page(session, wanted)
            return list(rows), total

        return await self._client.caller.read(read)

    async def _begin(self, part: HistoryPart | None = None, summed: AggregatedPart | None = None) -> list[str]:
        """Listen to the devices that were found, then read their values."""
        command, query = self._command, self._query
        assert command is not None
        assert query is not None
        self._listen(command)
        ids = [row[0].id for row in self._found[0]]
        series = command.ts_cmd
        queries = [None if each is None else _series_query(each) for each in (part, series)]
        if any(each is not None and len(each.keys) * len(ids) > VALUES for each in (*queries, summed)):
            raise CommandRefused(f"More than {VALUES} series!")

        def read(session: Session) -> tuple[dict[Any, Any], list[str]]:
            latest = entity_query.latest_values(session, ids, query)
            past, window = (None if each is None else _entries(session, ids, each) for each in queries)
            sums = None if summed is None else aggregated.latest(session, ids, summed)
            return latest, list(self._texts(query, latest, (sums, past, window)))

        latest, texts = await self._client.caller.read(read)
        self._known = {
            key: (value.ts, value.value) for key, value in latest.items() if key[2] in self._latest.get(key[1], ())
        }
        return texts

    def _texts(
        self,
        query: DataQuery,
        latest: dict[Any, Any],
        read: tuple[aggregated.Sums | None, _Entries | None, _Entries | None],
    ) -> Iterable[str]:
        sums, past, window = read
        assert self._command is not None
        wanted = entity_query.wanted_page(self._client.caller, query)
        rows, total = self._found
        page = listed((rows, total), wanted, lambda row: entity_query.entity(row, query, latest))
        if sums is not None:
            data = [each.model_copy(update={"agg_latest": sums[each.entity_id.id]}) for each in page.data]
            yield self._report(page.model_copy(update={"data": data}))
        if past is not None:
            yield self._report(_with(page, past))
        if self._command.latest_cmd is not None or (window is None and not self._reported):
            yield self._report(page)
        if window is not None:
            yield self._report(_with(page, window))

    def _report(self, page: PageData[EntityData]) -> str:
        first, self._reported = not self._reported, True
        if first:
            return updates.entities(self._id, page, None)
        return updates.entities(self._id, None, [each.model_dump(mode="json", by_alias=True) for each in page.data])

    # Changes.

    def _listen(self, command: EntityDataCommand) -> None:
        self.stop()
        self._latest = {}
        for key in command.latest_cmd.keys if command.latest_cmd else ():
            self._latest.setdefault(key.type, set()).add(key.key)
        self._series = set(command.ts_cmd.keys) if command.ts_cmd else set()
        values = sum(map(len, self._latest.values())) + len(self._series)
        if values:
            for row in self._found[0]:
                self._follow(row[0].id, self._on_change, values)

    def _on_change(self, change: Change) -> None:
        names = {key for _, key, _ in change.entries} | set(change.deleted)
        put = self._client.outbox.put
        for kind in (_SERIES,) if change.scope is None else (KINDS[change.scope], _ANY_SCOPE):
            if not names.isdisjoint(self._latest.get(kind, ())):
                put(partial(self._latest_update, kind, change), change.size)
        if change.scope is None and not names.isdisjoint(self._series):
            put(partial(self._series_update, change), change.size)

    def _latest_update(self, kind: str, change: Change) -> str | None:
        device_id, wanted = change.device_id, self._latest.get(kind, ())
        if not self.follows(device_id):
            return None
        latest: dict[str, dict[str, Any]] = {}
        for ts, key, value in change.entries:
            entry, known = (ts, text_of(value)), self._known.get((device_id, kind, key), (0, ""))
            if key in wanted and ts >= known[0] and entry != known:
                self._known[device_id, kind, key] = entry
                latest[key] = _value(*entry)
        for key in change.deleted:
            if key in wanted:
                self._known.pop((device_id, kind, key), None)
                latest[key] = _value(0, "")
        return self._update(device_id, {kind: latest}, None) if latest else None

    def _series_update(self, change: Change) -> str | None:
        if not self.follows(change.device_id):
            return None
        found: dict[str, list[dict[str, Any]]] = {}
        for ts, key, value in change.entries:
            if key in self._series:
                found.setdefault(key, []).append(_value(ts, text_of(value)))
        found.update({key: [_value(0, "")] for key in change.deleted if key in self._series})
        return self._update(change.device_id, None, found) if found else None

    def _update(self, device_id: UUID, latest: Mapping[str, Any] | None, entries: Mapping[str, Any] | None) -> str:
        entity = {"entityType": "DEVICE", "id": str(device_id)}
        change = {"entityId": entity, "latest": latest, "timeseries": entries, "aggLatest": None}
        return updates.entities(self._id, None, [change])


class CountFollowed(Followed):
    """The number of devices that a query finds."""

    def __init__(self, client: Client, command: int, query: CountQuery) -> None:
        super().__init__(client)
        self._id = command
        self._query = query
        self._number = -1

    async def begin(self) -> str:
        """Return their number now."""
        self._number = await self._count()
        return updates.count(self._id, self._number)

    async def refresh(self) -> None:
        """Say so if there is another number of them now."""
        number = await self._count()
        if number != self._number:
            self._number = number
            self._client.outbox.put(lambda: updates.count(self._id, number), 0)

    async def _count(self) -> int:
        caller = self._client.caller
        wanted = entity_query.wanted_devices(caller, self._query, DevicePageQuery(size=1))
        return await caller.read(devices.count, wanted)


def _value(ts: int, text: str) -> dict[str, Any]:
    return {"ts": ts, "value": text}


def _with(page: PageData[EntityData], entries: _Entries) -> PageData[EntityData]:
    data = [each.model_copy(update={"timeseries": entries[each.entity_id.id]}) for each in page.data]
    return page.model_copy(update={"data": data})


def _series_query(part: HistoryPart | SeriesPart) -> SeriesQuery:
    kind, zone = part.interval_type or IntervalType.MILLISECONDS, time_zone_of(part.time_zone_id or "UTC")
    return series_query(part.keys, part, kind=kind, zone=zone)


def _entries(session: Session, ids: list[UUID], wanted: SeriesQuery) -> _Entries:
    return {
        device_id: {key: [_value(ts, as_text(text)) for ts, text in entries] for key, entries in found.items()}
        for device_id, found in entries_of(session, ids, wanted).items()
    }
