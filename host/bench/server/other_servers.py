"""Other servers on the same PostgreSQL database: what they change reaches the sessions of this one, and calls pass on.

A server is told that a device was deleted, deactivated or has other credentials, that attributes were changed, that
there is a persistent call, and that users may have lost what they had. A call that is not kept goes, encrypted, to the
server where the device listens, and its answer back.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any

from bench.registry import logins, timeseries
from bench.registry.announcements import Announcement, Kind, TooLarge, Unsealing
from bench.registry.changes import Change
from bench.registry.clock import now_ms
from bench.registry.model import Attribute
from bench.registry.registry import Registry
from bench.registry.statements import parts
from bench.server.journal import Journal
from bench.server.persistent_calls import PersistentCalls
from bench.server.presence import AnswerUnreadable, Call, CallUnanswered, Presence, SessionEnd

WAITING = 10_000
"""Announcements that wait for the database."""
CALLS = 1_000
"""Calls that are on their way to other servers, or came from them and are not answered."""
_ENDS = {
    Kind.DELETED: SessionEnd.DELETED,
    Kind.CREDENTIALS: SessionEnd.CREDENTIALS_CHANGED,
    Kind.DEACTIVATED: SessionEnd.DEACTIVATED,
}
# How far another server's clock may be behind.
_MARGIN_MS = 60_000


class OtherServers:
    """Receives what other servers announce, and has them call devices that do not listen here."""

    def __init__(self, registry: Registry, presence: Presence, calls: PersistentCalls, journal: Journal) -> None:
        self._registry = registry
        self._presence = presence
        self._calls = calls
        self._journal = journal
        self._unsealing = Unsealing(registry.secret_box)
        self._waiting: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._tasks: dict[object, asyncio.Task[None]] = {}
        self._since_ms = now_ms()
        self.on_users: Callable[[], None] = lambda: None
        """Called when users may not be there any more, or not see what they follow."""
        if registry.name:
            presence.on_unheard = self._pass_on

    async def run(self) -> None:
        """Receive what other servers announce, until cancelled."""
        working = asyncio.create_task(self._work())
        try:
            await self._registry.listen(self._on_announced, self._on_begin)
        finally:
            for task in (working, *self._tasks.values()):
                task.cancel()

    async def _work(self) -> None:
        while True:
            await self._guarded((await self._waiting.get())())

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it was, the server goes on
            self._journal.failure(error, what="announcements")

    def _put(self, work: Callable[[], Awaitable[None]]) -> None:
        if self._waiting.qsize() < WAITING - 1:
            self._waiting.put_nowait(work)
        elif self._waiting.qsize() < WAITING:  # the last one looks for all that is lost from here on
            self._waiting.put_nowait(self._catch_up)

    def _start(self, key: object, work: Awaitable[None]) -> None:
        task = self._tasks[key] = asyncio.ensure_future(self._guarded(work))
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    # What others announce.

    def _on_announced(self, announced: Announcement) -> None:
        device_id, fields = announced.device_id, announced.fields
        match announced.kind:
            case Kind.DELETED | Kind.CREDENTIALS | Kind.DEACTIVATED as kind:
                self._presence.notify_session_end(device_id, _ENDS[kind])
            case Kind.ATTRIBUTES if self._follows(device_id):
                self._put(partial(self._read, device_id, fields["scope"], fields["keys"]))
            case Kind.CALLS:
                self._put(partial(self._calls.find, device_id))
            case Kind.CALL_OVER:
                self._calls.forget_call(device_id, uuid.UUID(fields["call"]))
            case Kind.WEBHOOKS:
                self._put(self._registry.load_webhooks)
            case Kind.USERS:
                self.on_users()
            case Kind.SEALED:
                content = self._unsealing.add(announced)
                if content is not None:
                    self._on_sealed(announced, content)

    def _follows(self, device_id: uuid.UUID) -> bool:
        return self._presence.listens_for_attributes(device_id) or self._registry.changes.count(device_id) > 0

    async def _read(self, device_id: uuid.UUID, scope: str, keys: list[str]) -> None:
        """Tell of attributes as they are now, whatever was announced of them meanwhile."""
        rows = await self._registry.read(timeseries.attributes, device_id, scope, keys)
        gone = set(keys).difference(row.key for row in rows)
        self._registry.changes.publish([Change(device_id, scope, _entries(rows), sorted(gone))])

    # What was announced while nobody listened.

    def _on_begin(self) -> None:
        self.on_users()
        self._put(self._catch_up)

    async def _catch_up(self) -> None:
        await self._registry.load_webhooks()
        since_ms, self._since_ms = self._since_ms - _MARGIN_MS, now_ms()
        for some in parts(self._presence.connected()):
            shown = await self._registry.read(logins.shown, some)
            self._presence.end_outdated(some, shown)
        await self._calls.find_all()
        followed = {*self._presence.listening_for_attributes(), *self._registry.changes.devices()}
        for some in parts(list(followed)):
            rows = await self._registry.read(timeseries.changed_attributes, some, since_ms)
            self._registry.changes.publish(_changes(rows))

    # Calls.

    def _pass_on(self, device_id: uuid.UUID, call: Call, timeout_s: float, /, *, oneway: bool) -> None:
        content = {
            "call": call.id,
            "method": call.method,
            "params": call.params,
            "oneway": oneway,
            "until_ms": now_ms() + round(timeout_s * 1000),
        }
        if len(self._tasks) < CALLS:
            self._start((device_id, call.id), self._send(device_id, content))

    async def _send(self, device_id: uuid.UUID, content: dict[str, Any]) -> None:
        try:
            await self._registry.announce_sealed(device_id, content)
        except TooLarge:
            self._journal.write_rarely("call_too_large", device=str(device_id))

    def _on_sealed(self, announced: Announcement, content: dict[str, Any]) -> None:
        device_id, number = announced.device_id, content["call"]
        if "method" in content:
            key = (announced.sender, device_id, number)
            left_s = (content["until_ms"] - now_ms()) / 1000
            if (
                self._presence.listens_for_calls(device_id)
                and left_s > 0
                and key not in self._tasks
                and len(self._tasks) < CALLS
            ):
                self._start(key, self._call(announced, content, left_s))
        elif content["to"] == self._registry.name:
            if "value" in content:
                self._presence.answer(device_id, number, content["value"])
            elif content["unreadable"]:
                self._presence.answer(device_id, number, AnswerUnreadable())
            else:
                self._presence.note_sent(device_id, number)

    async def _call(self, announced: Announcement, content: dict[str, Any], left_s: float) -> None:
        """Call a device for another server, and announce what becomes of it."""
        device_id, method, params, oneway = announced.device_id, content["method"], content["params"], content["oneway"]
        reply = {"to": announced.sender, "call": content["call"], "unreadable": False}
        await self._send(device_id, reply)
        try:
            reply["value"] = await self._presence.call(
                device_id, method, params, oneway=oneway, timeout_s=left_s, passes_on=False
            )
        except CallUnanswered:
            return
        except AnswerUnreadable:
            reply["unreadable"] = True
        await self._send(device_id, reply)


def _entries(rows: Iterable[Any]) -> list[tuple[int, str, Any]]:
    return [(row.ts_ms, row.key, json.loads(row.value)) for row in rows]


def _changes(rows: Iterable[Attribute]) -> Iterator[Change]:
    by_scope: dict[tuple[uuid.UUID, str], list[Attribute]] = {}
    for row in rows:
        by_scope.setdefault((row.device_id, row.scope), []).append(row)
    for (device_id, scope), found in by_scope.items():
        yield Change(device_id, scope, _entries(found))
