"""The user at the other end of a WebSocket, and the devices that are followed for them."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from bench.registry.changes import Changes, Listener
from bench.server.http.operator.authorization import Caller
from bench.server.http.operator.live.outbox import Outbox
from bench.server.http.operator.live.updates import CommandRefused

# Values that one WebSocket follows, all its subscriptions together; all values of a device count as one.
VALUES = 10_000
# Subscriptions that follow one device, all WebSockets together: each of its messages goes through all of them.
LISTENERS = 2000


@dataclass
class Client:
    """A user, and what waits for them."""

    caller: Caller
    changes: Changes
    outbox: Outbox
    values: int = 0
    """The number of values that are followed."""


class Followed:
    """The devices that are followed for one command."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stops: dict[UUID, tuple[Callable[[], None], int]] = {}

    @property
    def device_ids(self) -> list[UUID]:
        """The devices."""
        return list(self._stops)

    def _follow(self, device_id: UUID, listener: Listener, values: int) -> None:
        """Follow so many values of a device. Raises CommandRefused if they are too many."""
        values = max(1, values)
        if self._client.values + values > VALUES:
            raise CommandRefused(f"More than {VALUES} values are followed!")
        if self._client.changes.count(device_id) >= LISTENERS:
            raise CommandRefused("Too many follow this device!")
        self._client.values += values
        self._stops[device_id] = self._client.changes.listen(device_id, listener), values

    def follows(self, device_id: UUID) -> bool:
        """Return whether a device is one of them."""
        return device_id in self._stops

    def lose(self, device_id: UUID) -> None:
        """Follow a device no longer: its user may not see it any more, or it is gone."""
        self._unfollow(device_id)

    def _unfollow(self, device_id: UUID) -> None:
        if (found := self._stops.pop(device_id, None)) is not None:
            stop, values = found
            stop()
            self._client.values -= values

    def stop(self) -> None:
        """Follow nothing any more."""
        for device_id in self.device_ids:
            self._unfollow(device_id)

    async def refresh(self) -> None:
        """Look for what has no changes to listen to: devices that a query finds now, and did not before."""
