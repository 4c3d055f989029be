"""Attributes and series of one device: read once, or followed."""

from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from bench.registry import timeseries
from bench.registry.aggregation import Aggregation
from bench.registry.changes import Change
from bench.registry.model import (
    CLIENT_SCOPE,
    SERVER_SCOPE,
    SHARED_SCOPE,
    Attribute,
    EntityAttribute,
    EntityTelemetry,
    Telemetry,
)
from bench.registry.timeseries import Span
from bench.server.http.operator.live import updates
from bench.server.http.operator.live.client import Client, Followed
from bench.server.http.operator.live.updates import CommandRefused, ErrorCode
from bench.server.http.operator.schemas.websocket import (
    AttributesCommand,
    HistoryCommand,
    HistoryPart,
    SeriesCommand,
    SeriesPart,
)
from bench.server.http.operator.series import SeriesQuery, as_text, entries_of, text_of

KEYS = 1000
"""Keys that one command names."""
DEFAULT_ENTRIES = 100
"""Entries of a key, unless the command says how many."""
_SCOPES = (CLIENT_SCOPE, SHARED_SCOPE, SERVER_SCOPE)
_ANY_SCOPE = "ANY_SCOPE"
_Found = dict[str, list[tuple[int, str]]]


async def history(client: Client, command: HistoryCommand) -> str:
    """Return the answer to a command for entries of a time."""
    if not command.entity_id or not command.entity_type:
        raise CommandRefused("Device id is empty!")
    keys = _keys(command.keys)
    if not keys:
        raise CommandRefused("Keys are empty!")
    device_id, wanted = _device(command), series_query(sorted(keys), command)

    def read(session: Session) -> str:
        return updates.values(command.cmd_id, _entries(client, session, device_id, wanted))

    return await client.caller.read(read)


class ValuesFollowed(Followed):
    """Attributes or series of one device, which are followed."""

    def __init__(self, client: Client, command: AttributesCommand | SeriesCommand) -> None:
        super().__init__(client)
        self._command = command
        self._device_id = _device(command)
        self._keys = _keys(command.keys)
        self._scope = (command.scope or _ANY_SCOPE) if isinstance(command, AttributesCommand) else None
        if self._scope is not None and self._scope not in (*_SCOPES, _ANY_SCOPE):
            raise CommandRefused(f"Invalid scope: {self._scope}")

    async def begin(self) -> str:
        """Begin to follow them; return what they are now."""
        self._follow(self._device_id, self._on_change, len(self._keys or ()))
        return await self._client.caller.read(lambda session: updates.values(self._command.cmd_id, self._read(session)))

    def _read(self, session: Session) -> _Found:
        command = self._command
        if isinstance(command, SeriesCommand) and self._keys is not None and command.time_window > 0:
            wanted = series_query(sorted(self._keys), command)
            return _entries(self._client, session, self._device_id, wanted)
        device_id, found = self._client.caller.device(session, self._device_id).id, _Found()
        scope = None if self._scope == _ANY_SCOPE else self._scope
        rows: Iterable[Attribute | EntityAttribute | Telemetry | EntityTelemetry] = (
            timeseries.latest(session, device_id, self._keys)
            if self._scope is None
            else timeseries.attributes(session, device_id, scope, self._keys)
        )
        for row in rows:
            found.setdefault(row.key, []).append((row.ts_ms, as_text(row.value)))
        return found

    def _on_change(self, change: Change) -> None:
        of_this_kind = change.scope == self._scope or (self._scope == _ANY_SCOPE and change.scope is not None)
        if of_this_kind and (self._keys is None or not self._keys.isdisjoint(_names(change))):
            self._client.outbox.put(partial(self._update, change), change.size)

    def _update(self, change: Change) -> str | None:
        if not self.follows(change.device_id):
            return None
        found: _Found = {}
        for ts, key, value in change.entries:
            if self._keys is None or key in self._keys:
                found.setdefault(key, []).append((ts, text_of(value)))
        found.update({key: [(0, "")] for key in change.deleted if self._keys is None or key in self._keys})
        return updates.values(self._command.cmd_id, found)

    def lose(self, device_id: UUID) -> None:
        """Say so, too."""
        self._unfollow(device_id)
        why = CommandRefused("Unauthorized", ErrorCode.UNAUTHORIZED)
        self._client.outbox.put(lambda: updates.error(self._command.cmd_id, why), 0)


def _names(change: Change) -> Iterable[str]:
    yield from (key for _, key, _ in change.entries)
    yield from change.deleted


def _device(command: AttributesCommand | SeriesCommand | HistoryCommand) -> UUID:
    if not command.entity_id:
        raise CommandRefused("Device id is empty!")
    if command.entity_type != "DEVICE":
        raise CommandRefused("Only devices can be followed here!")
    try:
        return UUID(command.entity_id)
    except ValueError:
        raise CommandRefused(f"Invalid UUID string: {command.entity_id}") from None


def _keys(text: str | None) -> frozenset[str] | None:
    """Return the names in `a,b`, as they are; None is all."""
    keys = frozenset((text or "").split(",")) - {""}
    if len(keys) > KEYS:
        raise CommandRefused(f"More than {KEYS} keys!")
    return keys if text else None


def series_query(
    keys: Iterable[str], wanted: SeriesCommand | HistoryCommand | SeriesPart | HistoryPart, **further: Any
) -> SeriesQuery:
    """Return what a command, or a part of one, wants of series.

    Args:
        keys: The series.
        wanted: The command or the part.
        further: Further fields of the query.

    Raises:
        CommandRefused: It wants less than nothing.
    """
    if wanted.limit < 0:
        raise CommandRefused("Incorrect TsKvQuery. Limit must be positive!")
    to_ms = wanted.end_ts if isinstance(wanted, HistoryCommand | HistoryPart) else wanted.start_ts + wanted.time_window
    return SeriesQuery(
        keys=list(dict.fromkeys(keys)),
        span=Span(from_ms=wanted.start_ts, to_ms=to_ms, limit=wanted.limit or DEFAULT_ENTRIES),
        aggregation=Aggregation(wanted.agg or Aggregation.NONE),
        step_ms=wanted.interval,
        **further,
    )


def _entries(client: Client, session: Session, device_id: UUID, wanted: SeriesQuery) -> _Found:
    found = entries_of(session, [client.caller.device(session, device_id).id], wanted)[device_id]
    return {key: [(ts, as_text(text)) for ts, text in entries] for key, entries in found.items() if entries}
