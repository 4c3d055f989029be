"""Calls of devices that are kept in the database until they are answered, delivered (one-way) or over.

They are ThingsBoard's persistent calls, with its strategy BURST: a device that subscribes is sent all of its open ones,
in the order in which they were made, and a device that listens gets each new one at once. Like ThingsBoard's, a server
that starts again sends only what was never sent before.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from bench.registry import calls
from bench.registry.calls import CallStatus
from bench.registry.clock import now_ms
from bench.registry.model import PersistentCall
from bench.registry.registry import Registry
from bench.server.journal import Journal
from bench.server.presence import Call, Delivery, OnCall, Presence

# Seconds between two looks at what is over, whatever the clock says meanwhile.
_LOOK_S = 60.0
_STATUS = {
    Delivery.SENT: CallStatus.SENT,
    Delivery.DELIVERED: CallStatus.DELIVERED,
    Delivery.TIMEOUT: CallStatus.TIMEOUT,
}


class _Device:
    """A device with open calls, or with listeners: the numbers under which it knows its calls, one turn at a time."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.users = 0
        self.listeners: dict[object, OnCall] = {}
        self.numbers: dict[uuid.UUID, int] = {}

    @property
    def idle(self) -> bool:
        return not (self.users or self.listeners or self.numbers)


class Subscription:
    """A listener for a device's calls; it gets those that are open, then each new one."""

    def __init__(self, calls_: "PersistentCalls", device_id: uuid.UUID, listener: OnCall) -> None:
        self._calls = calls_
        self._device_id = device_id
        self._listener = listener
        self._waiting = self._stopped = False
        self._stop = calls_.presence.listen_calls(device_id, listener)
        self._send_all()

    def again(self) -> None:
        """Have all open calls sent once more, as every subscription does."""
        self._calls.presence.send_pending(self._device_id, self._listener)
        self._send_all()

    def stop(self) -> None:
        """Receive no more. To call it twice does no harm."""
        self._stopped = True
        self._stop()
        self._calls.forget_listener(self._device_id, self)

    def _send_all(self) -> None:
        if not self._waiting:  # whoever subscribes again and again is sent them once for all the times that wait
            self._waiting = True
            self._calls.start(self._in_turn())

    async def _in_turn(self) -> None:
        async with self._calls.turn(self._device_id) as device:
            self._waiting = False
            if not self._stopped:
                await self._calls.send_open(self._device_id, device, self._listener)
            if not self._stopped:
                device.listeners[self] = self._listener


class PersistentCalls:
    """The persistent calls of all devices."""

    def __init__(self, registry: Registry, journal: Journal, presence: Presence) -> None:
        self.presence = presence
        self._registry = registry
        self._journal = journal
        self._devices: dict[uuid.UUID, _Device] = {}
        # Of these the database has calls that nobody was sent since this server started
        self._unsent: set[uuid.UUID] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_ms: int | None = None
        self._sooner = asyncio.Event()
        presence.on_deleted = self._forget

    # The devices' side.

    def listen(self, device_id: uuid.UUID, listener: OnCall) -> Subscription:
        """Have the listener called for the device's calls, persistent or not: those that are open, then new ones."""
        return Subscription(self, device_id, listener)

    async def answer(self, device_id: uuid.UUID, number: int, response: str | None) -> bool:
        """Store a device's answer to a call; return False if it has no such persistent call.

        Args:
            device_id: The device.
            number: The number under which it was sent the call.
            response: Its answer, as JSON; None if it is empty.
        """
        device = self._devices.get(device_id)
        call_id = next((id_ for id_, own in device.numbers.items() if own == number), None) if device else None
        if call_id is None:
            return False
        answered = await self._registry.write(calls.answer, call_id, response)
        self.forget_call(device_id, call_id)
        return answered

    # The operators' side.

    async def create(self, device_id: uuid.UUID, store: Callable[[], Awaitable[PersistentCall]]) -> PersistentCall:
        """Store a call, and send it to whoever listens for the device.

        Args:
            device_id: The device.
            store: Stores the call (`calls.create`) and returns it.
        """
        async with self.turn(device_id) as device:
            call = await store()
            if call.is_open:
                device.numbers[call.id] = self.presence.next_id(device_id)
                self._send(device_id, device, call, device.listeners.values())
                if self._next_ms is None or call.expires_ms < self._next_ms:
                    self._sooner.set()
        return call

    # Sending.

    @asynccontextmanager
    async def turn(self, device_id: uuid.UUID) -> AsyncIterator[_Device]:
        """Yield a device while nothing else happens to its calls."""
        device = self._devices.setdefault(device_id, _Device())
        device.users += 1
        try:
            async with device.turn:
                yield device
        finally:
            device.users -= 1
            self._tidy(device_id)

    async def send_open(self, device_id: uuid.UUID, device: _Device, listener: OnCall) -> None:
        """Send all open calls, those that are not acknowledged or not answered as well. In the device's turn only."""
        if not device.numbers and device_id not in self._unsent:
            return
        found = await self._registry.read(calls.open_calls, device_id, now_ms())
        self._unsent.discard(device_id)
        for call in found:
            if call.id not in device.numbers and call.status == CallStatus.QUEUED:
                device.numbers[call.id] = self.presence.next_id(device_id)
        for call in found:
            if call.id in device.numbers and self._send(device_id, device, call, [listener]):
                break

    def _send(self, device_id: uuid.UUID, device: _Device, call: PersistentCall, to: Iterable[OnCall]) -> bool:
        """Send a call; return whether a listener receives no more."""
        call_id = call.id

        def report(delivery: Delivery) -> None:
            self.start(self._advance(device_id, call_id, _STATUS[delivery]))

        sent = Call(device.numbers[call_id], call.method, json.loads(call.params), report)
        received = [listener(sent) for listener in list(to)]
        return False in received

    async def find(self, device_id: uuid.UUID) -> None:
        """Send what another server stored for a device, if it listens here."""
        if device_id not in self._devices:
            self._unsent.add(device_id)
            return
        async with self.turn(device_id) as device:
            found = await self._registry.read(calls.open_calls, device_id, now_ms())
            known = device.numbers
            device.numbers = {each.id: known[each.id] for each in found if each.id in known}
            new = [each for each in found if each.id not in known and each.status == CallStatus.QUEUED]
            for call in new:
                device.numbers[call.id] = self.presence.next_id(device_id)
                self._send(device_id, device, call, device.listeners.values())

    async def find_all(self) -> None:
        """Look for what other servers stored, and for what is over."""
        self._unsent |= await self._registry.read(calls.waiting)
        for device_id in list(self._devices):
            await self.find(device_id)

    async def _advance(self, device_id: uuid.UUID, call_id: uuid.UUID, status: CallStatus) -> None:
        if not await self._registry.write(calls.advance, call_id, status):
            self.forget_call(device_id, call_id)

    # The end of calls.

    async def load(self) -> None:
        """Find out which devices have calls that were never sent: call it before there are listeners."""
        self._unsent = await self._registry.read(calls.waiting)

    async def run(self) -> None:
        """End calls whose time is over, until cancelled."""
        while True:
            try:
                await self._expire()
            except Exception as error:  # noqa: BLE001 - whatever it was, the server goes on
                self._journal.failure(error, what="calls")
            left_s = _LOOK_S if self._next_ms is None else (self._next_ms - now_ms()) / 1000
            try:
                async with asyncio.timeout(min(max(left_s, 0), _LOOK_S)):
                    await self._sooner.wait()
            except TimeoutError:
                pass

    async def _expire(self) -> None:
        self._sooner.clear()
        self._next_ms = await self._registry.read(calls.next_expiry)
        while self._next_ms is not None and self._next_ms <= now_ms():
            for device_id, call_id in await self._registry.write(calls.expire, now_ms()):
                self.forget_call(device_id, call_id)
            self._next_ms = await self._registry.read(calls.next_expiry)

    async def drain(self) -> None:
        """Wait until what was reported so far is stored."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def start(self, work: Awaitable[None]) -> None:
        """Do something beside whatever goes on; a failure is an event."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - nobody waits for it
                self._journal.failure(error, what="calls")

        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget_listener(self, device_id: uuid.UUID, key: object) -> None:
        """Send nothing more to a listener."""
        if device := self._devices.get(device_id):
            device.listeners.pop(key, None)
            self._tidy(device_id)

    def forget_call(self, device_id: uuid.UUID, call_id: uuid.UUID) -> None:
        """Send a call that is over, or was deleted, to nobody any more."""
        if device := self._devices.get(device_id):
            device.numbers.pop(call_id, None)
            self._tidy(device_id)

    def _forget(self, device_id: uuid.UUID) -> None:
        self._unsent.discard(device_id)
        if device := self._devices.get(device_id):
            device.numbers.clear()
            self._tidy(device_id)

    def _tidy(self, device_id: uuid.UUID) -> None:
        if (device := self._devices.get(device_id)) and device.idle:
            del self._devices[device_id]
