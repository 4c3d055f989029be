"""The server attributes in which ThingsBoard keeps whether a device is active, and whether a device is online.

They are stored some time after what they tell of, many devices' at once, so that no device waits for them.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bench.registry.batching import Conflict
from bench.registry.clock import now_ms
from bench.registry.model import SERVER_SCOPE, Attribute
from bench.registry.registry import Registry
from bench.registry.reprovisioning import RECENT_S

ACTIVE, TIMEOUT = "active", "inactivityTimeout"
LAST_ACTIVITY, LAST_CONNECT, LAST_DISCONNECT = "lastActivityTime", "lastConnectTime", "lastDisconnectTime"
INACTIVITY_ALARM = "inactivityAlarmTime"

# Seconds. ThingsBoard's own: a device is looked at once a minute, and inactive after 10 minutes unless its server
# attribute `inactivityTimeout` (ms) says otherwise.
CHECK_S = 60.0
INACTIVITY_S = 600.0
# How soon a connection is stored, and how often the time of the last message is.
SAVE_S = 1.0
REPORT_MS = 3000
# How many devices' attributes are written, or read, at once.
_AT_ONCE = 500


@dataclass(slots=True)
class _Active:
    last_ms: int
    saved_ms: int = 0
    is_online: bool = False


class Activity:
    """Takes note of what devices do, and stores it. Costs some 200 bytes for each device that is active."""

    def __init__(self, registry: Registry, clock: Callable[[], int] = now_ms) -> None:
        self._registry = registry
        self._clock = clock
        self._active: dict[uuid.UUID, _Active] = {}
        self._changes: dict[uuid.UUID, dict[str, Any]] = {}
        self._online: dict[uuid.UUID, bool] = {}
        """What is to be stored."""
        self._storing: dict[uuid.UUID, bool] = {}
        """What is being stored."""
        self._seen: set[uuid.UUID] = set()
        self._stopping = asyncio.Event()

    # The sessions' side.

    def connected(self, device_id: uuid.UUID) -> None:
        """Note that a device opened a session."""
        self.seen(device_id)
        self._changes.setdefault(device_id, {})[LAST_CONNECT] = self._clock()

    def disconnected(self, device_id: uuid.UUID) -> None:
        """Note that a device's session is closed: it is offline, until something else is heard from it."""
        if (state := self._active.get(device_id)) is not None:
            state.is_online = False
        self._online[device_id] = False
        self._changes.setdefault(device_id, {})[LAST_DISCONNECT] = self._clock()

    def seen(self, device_id: uuid.UUID) -> None:
        """Note that a device sent something."""
        now = self._clock()
        if (state := self._active.get(device_id)) is None:
            state = self._active[device_id] = _Active(now)
            self._changes.setdefault(device_id, {})[ACTIVE] = True
        else:
            state.last_ms = now
        if not state.is_online:
            state.is_online = self._online[device_id] = True
        self._seen.add(device_id)

    def is_live(self, device_id: uuid.UUID, *, has_session: bool) -> bool | None:
        """Return whether a device has a session or sent something a moment ago; None if another server may know it.

        Less than to be online: a device that sends over HTTP or CoAP stays online for minutes.

        Args:
            device_id: The device.
            has_session: It has one here, or a poll or an observation that is open.
        """
        state = self._active.get(device_id)
        is_recent = state is not None and state.is_online and self._clock() - state.last_ms < RECENT_S * 1000
        if has_session or is_recent:
            return True
        if not self._registry.name:
            return False
        return False if self._online.get(device_id, self._storing.get(device_id)) is False else None

    # The server's side.

    async def run(self) -> None:
        """Store what was noted, and look for devices that are silent, until `stop`."""
        with suppress(SQLAlchemyError):
            self._restore(await self._registry.read(_stored))
        loop = asyncio.get_running_loop()
        next_check = loop.time() + CHECK_S
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SAVE_S):
                    await self._stopping.wait()
            await self.save()
            if loop.time() >= next_check:
                next_check += CHECK_S
                await self.check()

    def stop(self) -> None:
        """Have `run` store what was noted, and end."""
        self._stopping.set()

    async def save(self) -> None:
        """Store what was noted."""
        now = self._clock()
        for device_id in list(self._seen):
            state = self._active.get(device_id)
            if state is None or now - state.saved_ms >= REPORT_MS:
                self._seen.discard(device_id)
                if state is not None:
                    state.saved_ms = now
                    if (
                        state.is_online and self._registry.name
                    ):  # another server may have seen the end of an older session
                        self._online.setdefault(device_id, True)
                    self._changes.setdefault(device_id, {})[LAST_ACTIVITY] = state.last_ms
        self._storing, self._online = self._online, {}
        online = list(self._storing.items())
        for at in range(0, len(online), _AT_ONCE):
            await asyncio.gather(*(self._write_online(*each) for each in online[at : at + _AT_ONCE]))
        self._storing = {}
        changes, self._changes = self._changes, {}
        every = list(changes.items())
        for at in range(0, len(every), _AT_ONCE):
            await asyncio.gather(*(self._write(device_id, values) for device_id, values in every[at : at + _AT_ONCE]))

    async def check(self) -> None:
        """Store of each device that was silent for too long that it is inactive."""
        silent = list(self._active)
        for at in range(0, len(silent), _AT_ONCE):
            some = silent[at : at + _AT_ONCE]
            with suppress(SQLAlchemyError):  # the next check does it
                timeouts = await self._registry.read(_whole_numbers, TIMEOUT, some)
                if self._registry.name:  # other servers may have heard from them
                    self._note(await self._registry.read(_whole_numbers, LAST_ACTIVITY, some))
                await asyncio.gather(*(self._check(device_id, timeouts.get(device_id)) for device_id in some))

    def _note(self, times: Mapping[uuid.UUID, int]) -> None:
        """Take up later times of last activity that are stored."""
        for device_id, last_ms in times.items():
            state = self._active.get(device_id)
            if state is not None and state.last_ms < last_ms <= self._clock():
                state.last_ms = last_ms

    async def _check(self, device_id: uuid.UUID, timeout_ms: int | None) -> None:
        state, now = self._active.get(device_id), self._clock()
        if state is None or now < state.last_ms + (INACTIVITY_S * 1000 if timeout_ms is None else timeout_ms):
            return
        del self._active[device_id]
        self._seen.discard(device_id)
        self._online[device_id] = False
        await self._write(device_id, {ACTIVE: False, INACTIVITY_ALARM: now, LAST_ACTIVITY: state.last_ms})

    async def _write_online(self, device_id: uuid.UUID, online: bool) -> None:  # noqa: FBT001 - what is stored
        try:
            await self._registry.save_online(device_id, online)
        except SQLAlchemyError:
            self._online.setdefault(device_id, online)

    async def _write(self, device_id: uuid.UUID, values: dict[str, Any]) -> None:
        try:
            await self._registry.save_attributes(device_id, values, SERVER_SCOPE)
        except Conflict:  # the device was deleted
            self._active.pop(device_id, None)
            self._seen.discard(device_id)
        except SQLAlchemyError:  # what is newer by the next time takes its place
            self._changes[device_id] = values | self._changes.get(device_id, {})

    def _restore(self, stored: Iterable[tuple[uuid.UUID, int]]) -> None:
        """Take up the devices that were active when the server was stopped."""
        for device_id, last_ms in stored:
            self._active.setdefault(device_id, _Active(last_ms, last_ms))


def _stored(session: Session) -> list[tuple[uuid.UUID, int]]:
    """Return the devices that are stored as active, and the times of their last activity."""
    scope = Attribute.scope == SERVER_SCOPE
    active = select(Attribute.device_id).where(scope, Attribute.key == ACTIVE, Attribute.value == json.dumps(True))
    rows = session.execute(
        select(Attribute.device_id, Attribute.value).where(
            scope, Attribute.key == LAST_ACTIVITY, Attribute.device_id.in_(active)
        )
    )
    return [(device_id, last) for device_id, value in rows if (last := _whole(value)) is not None]


def _whole_numbers(session: Session, key: str, device_ids: list[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Return the values of a server attribute of these devices that are whole numbers: times, in ms."""
    rows = session.execute(
        select(Attribute.device_id, Attribute.value).where(
            Attribute.device_id.in_(device_ids), Attribute.scope == SERVER_SCOPE, Attribute.key == key
        )
    )
    return {device_id: number for device_id, value in rows if (number := _whole(value)) is not None}


def _whole(text: str) -> int | None:
    value = json.loads(text)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
