"""Values of devices that were stored or deleted, and logins that are over: told to whoever listens once on the disk."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.registry.credentials import DeviceCredentials


@dataclass(frozen=True)
class Change:
    """Values of one device that were stored or deleted in one transaction."""

    device_id: uuid.UUID
    scope: str | None
    """The scope of attributes; None for series."""
    entries: Sequence[tuple[int, str, Any]] = ()
    """What was stored: ms since the epoch, key, value."""
    deleted: Sequence[str] = ()
    """Keys that have no value any more, or had none."""

    @cached_property
    def size(self) -> int:
        """The characters of it, about."""
        return sum(len(key) + len(json.dumps(value)) for _, key, value in self.entries) + sum(map(len, self.deleted))


@dataclass(frozen=True)
class Withdrawal:
    """Credentials that a device of this name does not log in with any more: it has others, or is gone, or renamed."""

    device_id: uuid.UUID
    name: str
    own: DeviceCredentials


Listener = Callable[[Change], None]


class Changes:
    """All listeners for changes of values. They are called after whoever made the change goes on: it has its answer."""

    def __init__(self) -> None:
        self._by_scope: dict[str, list[Listener]] = {}
        self._by_device: dict[uuid.UUID, dict[object, Listener]] = {}
        self._on_withdrawal: list[Callable[[Withdrawal], None]] = []

    @property
    def has_withdrawal_listeners(self) -> bool:
        """True if somebody listens for credentials that are withdrawn."""
        return bool(self._on_withdrawal)

    def listen_withdrawals(self, listener: Callable[[Withdrawal], None]) -> None:
        """Have a listener called for credentials that are withdrawn, of all devices."""
        self._on_withdrawal.append(listener)

    def listen_scope(self, scope: str, listener: Listener) -> None:
        """Have a listener called for attributes of a scope, of all devices."""
        self._by_scope.setdefault(scope, []).append(listener)

    def listen(self, device_id: uuid.UUID, listener: Listener) -> Callable[[], None]:
        """Have a listener called for a device's changes; return what stops that. To stop twice does no harm."""
        key = object()
        self._by_device.setdefault(device_id, {})[key] = listener

        def stop() -> None:
            if listeners := self._by_device.get(device_id):
                listeners.pop(key, None)
                if not listeners:
                    del self._by_device[device_id]

        return stop

    def devices(self) -> list[uuid.UUID]:
        """Return the devices with listeners of their own."""
        return list(self._by_device)

    def count(self, device_id: uuid.UUID) -> int:
        """Return how many listeners a device has."""
        return len(self._by_device.get(device_id, ()))

    def publish(self, changes: Iterable[Change | Withdrawal]) -> None:
        """Tell of changes that are on the disk."""
        for change in changes:
            if isinstance(change, Withdrawal):
                for listener in self._on_withdrawal:
                    asyncio.get_running_loop().call_soon(listener, change)
                continue
            listens = change.device_id in self._by_device or change.scope in self._by_scope
            if listens and (change.entries or change.deleted):
                asyncio.get_running_loop().call_soon(self._notify, change)

    def _notify(self, change: Change) -> None:
        of_all = self._by_scope.get(change.scope or "", ())
        for listener in (*of_all, *self._by_device.get(change.device_id, {}).values()):
            listener(change)
