"""Listeners for a device: sessions, long polls and observations, whatever their transport.

An operator's changes of a device are announced here, and reach whoever listens at that moment.
"""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol


class SessionEnd(Enum):
    """The reason why a device's sessions end."""

    DELETED = auto()
    CREDENTIALS_CHANGED = auto()
    DEACTIVATED = auto()
    """It may not log in any more."""


class CallUnanswered(Exception):
    """The device did not answer a call in time; `sent`: but a listener received it."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


class AnswerUnreadable(Exception):
    """The device's answer to a call is not JSON."""


class Delivery(Enum):
    """A step of a call on its way to a device."""

    SENT = auto()
    DELIVERED = auto()
    """Its receiver acknowledged it, or was not asked to."""
    TIMEOUT = auto()
    """Nobody acknowledged it."""


ACKNOWLEDGED_S = 10.0
"""Seconds within which a device has to acknowledge a call, over MQTT and CoAP. ThingsBoard's."""

Report = Callable[[Delivery], None]


@dataclass(frozen=True)
class Call:
    """A call from the server to a device. `params` is JSON."""

    id: int
    """Counted from 0 for each device."""
    method: str
    params: Any
    report: Report | None = None
    """Told what becomes of the call; None if nobody wants to know."""


OnAttributes = Callable[[dict[str, Any], list[str]], None]
OnCall = Callable[[Call], bool | None]
"""Receives a call, unless it returns False: a listener for a single call may have it already."""
OnEnding = Callable[[SessionEnd], None]


class OnUnheard(Protocol):
    """Receives a call that nobody received."""

    def __call__(self, device_id: uuid.UUID, call: Call, timeout_s: float, /, *, oneway: bool) -> None: ...


Stop = Callable[[], None]
"""Ends a subscription; to call it twice does no harm."""


@dataclass(eq=False)
class _Pending:
    call: Call
    oneway: bool
    answer: asyncio.Future[Any]
    sent: bool = False


@dataclass(frozen=True)
class _Session:
    on_ending: OnEnding
    shown: tuple[str, str] | None


class _Listeners:
    def __init__(self) -> None:
        self.on_attributes: dict[object, OnAttributes] = {}
        self.on_call: dict[object, OnCall] = {}
        self.on_ending: dict[object, _Session] = {}
        self.pending: dict[int, _Pending] = {}

    @property
    def idle(self) -> bool:
        return not (self.on_attributes or self.on_call or self.on_ending or self.pending)


class Presence:
    """All devices that have listeners, or that are being called."""

    def __init__(self) -> None:
        self._devices: dict[uuid.UUID, _Listeners] = {}
        self._logins: dict[object, set[uuid.UUID]] = {}
        # none is used twice: an answer that comes too late must not be taken for the answer to a later call
        self._ids: dict[uuid.UUID, Iterator[int]] = {}
        self.on_deleted: Callable[[uuid.UUID], None] = lambda _: None
        """Called with a device that was deleted."""
        self.on_unheard: OnUnheard = lambda *_, **__: None
        """Called with a call that is under way and that nobody here received."""

    # The listeners' side.

    def listen_attributes(self, device_id: uuid.UUID, listener: OnAttributes) -> Stop:
        """Have `listener(changed, deleted)` called for changes of shared attributes; return what stops it."""
        return self._listen(device_id, lambda device: device.on_attributes, listener)

    def listen_calls(self, device_id: uuid.UUID, listener: OnCall) -> Stop:
        """Have the listener called for calls; those without an answer so far are delivered at once."""
        stop = self._listen(device_id, lambda device: device.on_call, listener)
        self.send_pending(device_id, listener)
        return stop

    def send_pending(self, device_id: uuid.UUID, listener: OnCall) -> None:
        """Deliver all calls without an answer, also those that were delivered before."""
        if device := self._devices.get(device_id):
            for pending in list(device.pending.values()):
                if not pending.answer.done():
                    self._send(pending, [listener])

    def listen_session_end(
        self, device_id: uuid.UUID, listener: OnEnding, shown: tuple[str, str] | None = None
    ) -> Stop:
        """Have the listener called when the device may not log in any more with the credentials that it showed."""
        return self._listen(device_id, lambda device: device.on_ending, _Session(listener, shown))

    def answer(self, device_id: uuid.UUID, call_id: int, value: Any | AnswerUnreadable) -> bool:
        """Deliver a device's answer to a call, or that it is unreadable; return False if none is expected."""
        device = self._devices.get(device_id)
        pending = device.pending.get(call_id) if device else None
        if pending is None or pending.answer.done():
            return False
        if isinstance(value, AnswerUnreadable):
            pending.answer.set_exception(value)
        else:
            pending.answer.set_result(value)
        return True

    # The operators' side.

    def notify_attributes(self, device_id: uuid.UUID, changed: dict[str, Any], deleted: list[str]) -> None:
        """Notify of shared attributes that changed or were deleted."""
        if device := self._devices.get(device_id):
            for listener in list(device.on_attributes.values()):
                listener(changed, deleted)

    @contextmanager
    def watch_session_ends(self) -> Iterator[set[uuid.UUID]]:
        """Yield the devices whose sessions had to end since: for a login under way, which has no session yet."""
        key, ended = object(), set[uuid.UUID]()
        self._logins[key] = ended
        try:
            yield ended
        finally:
            del self._logins[key]

    def notify_session_end(self, device_id: uuid.UUID, why: SessionEnd) -> None:
        """Notify that sessions with this device have to end."""
        for ended in self._logins.values():
            ended.add(device_id)
        if device := self._devices.get(device_id):
            for session in list(device.on_ending.values()):
                session.on_ending(why)
            if why is not SessionEnd.CREDENTIALS_CHANGED:  # nobody will answer any more
                for pending in device.pending.values():
                    if not pending.answer.done():
                        pending.answer.set_exception(CallUnanswered(sent=pending.sent))
        if why is SessionEnd.DELETED:
            self.on_deleted(device_id)

    def end_outdated(self, device_ids: Iterable[uuid.UUID], shown: Mapping[uuid.UUID, tuple[str, str]]) -> None:
        """End the sessions of devices that are not among these any more, or that showed something else."""
        for device_id in device_ids:
            if (now := shown.get(device_id)) is None:
                self.notify_session_end(device_id, SessionEnd.DELETED)
            elif any(each.shown not in (None, now) for each in self._sessions(device_id)):
                self.notify_session_end(device_id, SessionEnd.CREDENTIALS_CHANGED)

    def _sessions(self, device_id: uuid.UUID) -> Iterable[_Session]:
        device = self._devices.get(device_id)
        return device.on_ending.values() if device else ()

    def listening_for_attributes(self) -> list[uuid.UUID]:
        """Return the devices with listeners for attributes."""
        return [device_id for device_id, device in self._devices.items() if device.on_attributes]

    def listens_for_attributes(self, device_id: uuid.UUID) -> bool:
        """Return whether somebody listens for a device's attributes."""
        device = self._devices.get(device_id)
        return bool(device and device.on_attributes)

    def listens_for_calls(self, device_id: uuid.UUID) -> bool:
        """Return whether a call would be received now."""
        device = self._devices.get(device_id)
        return bool(device and device.on_call)

    def is_connected(self, device_id: uuid.UUID) -> bool:
        """Return whether the device has a session: a poll or an observation that is open, too."""
        device = self._devices.get(device_id)
        return bool(device and device.on_ending)

    def connected(self) -> list[uuid.UUID]:
        """Return the devices that have a session."""
        return [device_id for device_id, device in self._devices.items() if device.on_ending]

    def next_id(self, device_id: uuid.UUID) -> int:
        """Return the id for another call of a device."""
        return next(self._ids.setdefault(device_id, itertools.count()))

    async def call(  # noqa: PLR0913 - all that a call is
        self,
        device_id: uuid.UUID,
        method: str,
        params: Any,
        *,
        oneway: bool,
        timeout_s: float,
        passes_on: bool = True,
    ) -> Any:
        """Call a device.

        Args:
            device_id: The device.
            method: The method.
            params: Its parameters, as JSON.
            oneway: Return once a listener received the call.
            timeout_s: How long to wait, in seconds.
            passes_on: Whether `on_unheard` is called if nobody received it.

        Returns:
            The device's answer; None for a one-way call.

        Raises:
            CallUnanswered: No answer comes in time, or the device was deleted.
            AnswerUnreadable: The answer is not JSON.
        """
        device = self._devices.setdefault(device_id, _Listeners())
        call = Call(self.next_id(device_id), method, params)
        pending = _Pending(call, oneway, asyncio.get_running_loop().create_future())
        device.pending[call.id] = pending
        self._send(pending, device.on_call.values())
        if passes_on and not pending.sent:
            self.on_unheard(device_id, call, timeout_s, oneway=oneway)
        try:
            async with asyncio.timeout(timeout_s):
                return await pending.answer
        except TimeoutError:
            raise CallUnanswered(sent=pending.sent) from None
        finally:
            del device.pending[call.id]
            self._forget_if_idle(device_id)

    def note_sent(self, device_id: uuid.UUID, call_id: int) -> None:
        """Note that a call was received elsewhere."""
        device = self._devices.get(device_id)
        if device and (pending := device.pending.get(call_id)):
            self._mark_sent(pending)

    def _send(self, pending: _Pending, listeners: Iterable[OnCall]) -> None:
        received = [listener(pending.call) is not False for listener in list(listeners)]
        if any(received):
            self._mark_sent(pending)

    def _mark_sent(self, pending: _Pending) -> None:
        pending.sent = True
        if pending.oneway and not pending.answer.done():
            pending.answer.set_result(None)

    def _listen(self, device_id: uuid.UUID, table: Callable[[_Listeners], dict[object, Any]], listener: Any) -> Stop:
        key = object()
        table(self._devices.setdefault(device_id, _Listeners()))[key] = listener

        def stop() -> None:
            if device := self._devices.get(device_id):
                table(device).pop(key, None)
                self._forget_if_idle(device_id)

        return stop

    def _forget_if_idle(self, device_id: uuid.UUID) -> None:
        if (device := self._devices.get(device_id)) and device.idle:
            del self._devices[device_id]
