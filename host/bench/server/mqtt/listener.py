"""All MQTT connections of a server: which devices are online, deadlines, and the end."""

import asyncio
import uuid

from bench.mqtt.codec import ReasonCode
from bench.registry.logins import KnownDevice
from bench.server.connections import Slot
from bench.server.device_api import DeviceApi
from bench.server.mqtt.connection import DeviceConnection
from bench.server.mqtt.session import Holder

# A connection that has not logged in by then is closed.
CONNECT_DEADLINE_S = 10.0
# How late it may be noticed that a connection's time is over.
_TICK_S = 1.0
_READ_SIZE = 4096
SUB_DEVICES = 100_000
"""Devices behind gateways, connected at a time."""


class Gateway:
    """Accepts connections, over TCP and TLS alike.

    What one read may bring is bounded by the buffer: asyncio's own 256 KiB are 131,072 pings.
    """

    def __init__(self, api: DeviceApi, *, connect_deadline_s: float = CONNECT_DEADLINE_S) -> None:
        self.api = api
        self.journal = api.journal
        self.connect_deadline_s = connect_deadline_s
        self.connections: set[DeviceConnection] = set()
        self.buffer = memoryview(bytearray(_READ_SIZE))
        self.closing = False
        self._online: dict[uuid.UUID, Holder] = {}
        self._sub_devices = 0
        self._ticking = False
        self._next_tick = 0.0

    def accept(self, slot: Slot, client: str = "") -> DeviceConnection:
        """Return a protocol for a new connection, for `Listener`.

        Args:
            slot: Its place among all connections.
            client: The client's address, if it is not the one at the other end of the connection.
        """
        if not self._ticking:
            self._ticking = True
            self._tick_later()
        if client:
            slot.set_address(client)
        return DeviceConnection(self, slot, client)

    def count(self, transport: str) -> int:
        """Return the number of open connections over `mqtt`, or over `mqtts`."""
        return sum(connection.transport_name == transport for connection in self.connections)

    async def close(self, grace_s: float) -> None:
        """Let every connection finish the packet it is at, for up to `grace_s` seconds, and close them all."""
        self.closing = True  # for a TLS handshake that ends only now
        for connection in list(self.connections):
            connection.finish(ReasonCode.SERVER_SHUTTING_DOWN)
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for connection in list(self.connections):
            connection.abort()

    # The connections' side.

    def has_room_for_sub_device(self) -> bool:
        """Return whether there is room for another device behind a gateway."""
        return self._sub_devices < SUB_DEVICES

    def device_online(self, connection: DeviceConnection, device: KnownDevice, holder: Holder) -> None:
        """Register a device's session: on its own connection, or on its gateway's. An older session is closed."""
        if (older := self._online.get(device.id)) is not None:
            self.journal.write("taken_over", device=device.name, peer=connection.peer)
            older.close(ReasonCode.SESSION_TAKEN_OVER)
            self._forget(device.id)
        self._online[device.id] = holder
        self._sub_devices += not isinstance(holder, DeviceConnection)
        self.api.activity.connected(device.id)
        self._log("online", connection, device)

    def device_offline(self, connection: DeviceConnection, device: KnownDevice, holder: Holder) -> None:
        """Forget a device's session."""
        if self._online.get(device.id) is holder:
            self._forget(device.id)
            self.api.activity.disconnected(device.id)
            self._log("offline", connection, device)

    def _forget(self, device_id: uuid.UUID) -> None:
        if (holder := self._online.pop(device_id, None)) is not None:
            self._sub_devices -= not isinstance(holder, DeviceConnection)

    def _log(self, event: str, connection: DeviceConnection, device: KnownDevice) -> None:
        self.journal.write(event, device=device.name, peer=connection.peer, transport=connection.transport_name)

    def _tick_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_tick = loop.time() + _TICK_S
        loop.call_at(self._next_tick, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        # Whoever held up this loop held up what devices sent, too: it is read before anyone is called silent
        if now - self._next_tick < _TICK_S:
            for connection in list(self.connections):
                connection.check(now)
        self._ticking = bool(self.connections)
        if self._ticking:
            self._tick_later()
