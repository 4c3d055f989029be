"""Events for hooks: what the audit trail has of devices, for webhooks and for Python functions.

They are derived from the rows of the trail, in the transaction that stores these. What a webhook is to be sent becomes
a row of `webhook_delivery` there: no event is lost with a server, and none is sent of what was rolled back. Python
functions of this server get them after the commit. While nobody wants any, this costs a look at an empty set.
"""

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from bench.registry.event_kinds import HookEvent
from bench.registry.model import Device, Profile, Rollout, WebhookDelivery
from bench.registry.statements import Insertion, parts

OPTION = "hook_feed"
"""The execution option by which each connection has its server's feed."""
_DEVICE, _SUCCESS = "device", "SUCCESS"  # as the audit trail has them
# Texts of an event, of which the trail's are no longer.
_LONGEST = 255

Event = dict[str, Any]


_DONE = {
    "provision": HookEvent.PROVISIONED,
    "device.credentials_updated": HookEvent.ROTATED,
    "device.associated": HookEvent.ASSOCIATED,
    "device.claimed": HookEvent.ASSOCIATED,
    "device.assigned_to_customer": HookEvent.ASSOCIATED,
    "device.deactivated": HookEvent.DEACTIVATED,
    "device.decommissioned": HookEvent.DECOMMISSIONED,
    "device.deleted": HookEvent.DELETED,
    "rollout.started": HookEvent.ROLLOUT_STARTED,
    "rollout.stopped": HookEvent.ROLLOUT_STOPPED,
    "rollout.finished": HookEvent.ROLLOUT_FINISHED,
}
_OF_ROLLOUTS = {HookEvent.ROLLOUT_STARTED, HookEvent.ROLLOUT_STOPPED, HookEvent.ROLLOUT_FINISHED}
_REFUSED = {"provision", "device.credentials_updated"}
_ADD = Insertion(
    WebhookDelivery, "id", "webhook_id", "event", "body", "created_ms", "due_ms", "tries", "is_dead", "problem"
)


class Feed:
    """The events that a server's webhooks and functions want. What it holds is replaced as a whole: threads read it."""

    def __init__(self) -> None:
        self._webhooks: Mapping[uuid.UUID, frozenset[HookEvent]] = {}
        self._on_events: Callable[[Sequence[Event]], None] | None = None
        self._on_due: Callable[[], None] = lambda: None
        self.wanted: frozenset[HookEvent] = frozenset()

    @property
    def webhooks(self) -> Mapping[uuid.UUID, frozenset[HookEvent]]:
        """The webhooks that are sent anything, and what."""
        return self._webhooks

    def use_webhooks(self, wanted: Mapping[uuid.UUID, frozenset[HookEvent]]) -> None:
        """Have other webhooks from now on."""
        self._webhooks = wanted
        self._update()
        self._on_due()

    def listen(self, on_events: Callable[[Sequence[Event]], None]) -> None:
        """Have a function called with all events that are committed, in the thread of the commit."""
        self._on_events = on_events
        self._update()

    def listen_due(self, on_due: Callable[[], None]) -> None:
        """Have a function called, in any thread, when there is something new to send, or to send it to."""
        self._on_due = on_due

    def _update(self) -> None:
        of_webhooks = frozenset(event for events in self._webhooks.values() for event in events)
        self.wanted = frozenset(HookEvent) if self._on_events else of_webhooks

    def begin(self, connection: Connection) -> None:
        """Forget what a transaction left that was rolled back."""
        connection.info.pop(OPTION, None)

    def committed(self, connection: Connection) -> None:
        """Pass on the events of a transaction that was committed."""
        transaction: _Transaction | None = connection.info.pop(OPTION, None)
        if transaction is not None and transaction.events:
            if self._on_events:
                self._on_events(transaction.events)
            self._on_due()


class _Transaction:
    """The events of a transaction."""

    def __init__(self) -> None:
        self.noted: dict[uuid.UUID, HookEvent] = {}
        self.events: list[Event] = []

    @classmethod
    def of(cls, connection: Connection) -> "_Transaction":
        found: _Transaction = connection.info.setdefault(OPTION, cls())
        return found


def note(connection: Connection, event: HookEvent, device_ids: Iterable[uuid.UUID]) -> None:
    """Note what else happens to devices in this transaction, besides what their rows of the trail will say."""
    feed: Feed | None = connection.get_execution_options().get(OPTION)
    if feed is not None and event in feed.wanted:
        _Transaction.of(connection).noted.update(dict.fromkeys(device_ids, event))


def put(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store what webhooks are to be sent of new rows of the audit trail, and keep it until the commit.

    Args:
        connection: In a transaction that may write.
        rows: As `audit.entry` makes them.
    """
    feed: Feed | None = connection.get_execution_options().get(OPTION)
    if feed is None or not feed.wanted:
        return
    transaction = _Transaction.of(connection)
    found = [(row, event) for row in rows for event in _events(row, transaction.noted) if event in feed.wanted]
    if not found:
        return
    devices = _devices(connection, {row["entity_id"] for row, _ in found if row["entity_id"]})
    deliveries = []
    for row, event in found:
        if event in _OF_ROLLOUTS:
            made = {**_made(row, event, None), "device": None, "rollout": _rollout(connection, row["entity_id"])}
        else:
            made = _made(row, event, devices.get(row["entity_id"]))
        transaction.events.append(made)
        body = json.dumps(made, ensure_ascii=False)
        deliveries += [
            _delivery(webhook, event, body, row["ts_ms"])
            for webhook, wanted in feed.webhooks.items()
            if event in wanted
        ]
    _ADD(connection, deliveries)


def _events(row: Mapping[str, Any], noted: dict[uuid.UUID, HookEvent]) -> Iterator[HookEvent]:
    what = row["what"]
    if row["result"] == _SUCCESS:
        if row["entity_id"] in noted:
            yield noted.pop(row["entity_id"])
        if what in _DONE:
            yield _DONE[what]
    elif what in _REFUSED and row["who"] == _DEVICE:
        yield HookEvent.REFUSED


def _devices(connection: Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
    query = select(Device.id, Device.serial_number, Profile.name).join(Profile, Profile.id == Device.profile_id)
    return {row.id: row for some in parts(list(ids)) for row in connection.execute(query.where(Device.id.in_(some)))}


def _rollout(connection: Connection, rollout_id: uuid.UUID) -> dict[str, Any]:
    query = select(Rollout.__table__, Profile.name).join(Profile, Profile.id == Rollout.profile_id)
    row = connection.execute(query.where(Rollout.id == rollout_id)).one()
    return {
        "id": str(row.id),
        "type": row.kind,
        "title": row.title,
        "version": row.package_version,
        "profile": row.name,
        "state": row.state,
        "reason": row.reason or None,
    }


def _made(row: Mapping[str, Any], event: HookEvent, device: Any) -> Event:
    """Return an event: JSON without secrets."""
    at = datetime.fromtimestamp(row["ts_ms"] / 1000, UTC).isoformat(timespec="milliseconds")
    return {
        "id": uuid.uuid4().hex,
        "event": event.value,
        "time": at.replace("+00:00", "Z"),
        "device": {
            "id": str(row["entity_id"]) if row["entity_id"] else None,
            "name": row["entity"],
            "profile": device.name if device else None,
            "customerId": str(row["customer_id"]) if row["customer_id"] else None,
            "serialNumber": device.serial_number[:_LONGEST] if device and device.serial_number else None,
        },
        "action": row["what"],
        "by": row["who"],
        "reason": row["result"][:_LONGEST] if event is HookEvent.REFUSED else None,
        "transport": row["transport"],
        "address": row["address"],
        "request": row["request"],
    }


def _delivery(webhook: uuid.UUID, event: HookEvent, body: str, now: int) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(),
        "webhook_id": webhook,
        "event": event.value,
        "body": body,
        "created_ms": now,
        "due_ms": now,
        "tries": 0,
        "is_dead": False,
        "problem": "",
    }
