"""Persistent calls of devices. Functions run in a transaction: `registry.write(calls.create, ...)`.

The statuses and the ways between them are ThingsBoard 4.3's. A status that is the last one never changes again,
whatever comes late; an acknowledgement that comes before the word that the call was sent counts.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.errors import Refused, UnknownId
from bench.registry import announcements, pages
from bench.registry.announcements import Kind
from bench.registry.model import PersistentCall
from bench.registry.pages import PageQuery

OPEN = 100
"""Calls of one device that are open."""
OPEN_SIZE = 512 << 10
"""Bytes of their texts: a device gets them all at once, and a connection holds no more than twice as much."""
ONE_SIZE = 64 << 10
"""Bytes of the texts of one."""
KEPT = 1_000
"""Calls of one device, the finished ones among them."""
KEPT_SIZE = 4 << 20
"""Bytes of their texts, but for the responses of those that were open when the last one was made."""
RETRIES = 5
"""How often a call that is not acknowledged may be sent again."""

# Calls that one transaction ends.
_AT_ONCE = 1_000


class CallStatus(StrEnum):
    """The status of a call. No stored call is DELETED."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    """Acknowledged: of a one-way call the last status."""
    SUCCESSFUL = "SUCCESSFUL"
    """Answered, whatever the answer is."""
    TIMEOUT = "TIMEOUT"
    """Not acknowledged in time; it is sent again when the device subscribes again."""
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    """Sent as often as it may be, and never acknowledged."""
    DELETED = "DELETED"


_FROM = {
    CallStatus.SENT: {CallStatus.QUEUED, CallStatus.TIMEOUT},
    CallStatus.DELIVERED: {CallStatus.QUEUED, CallStatus.SENT, CallStatus.TIMEOUT},
    CallStatus.TIMEOUT: {CallStatus.SENT},
}

SORTS = {
    "createdTime": PersistentCall.created_ms,
    "expirationTime": PersistentCall.expires_ms,
    "request": [PersistentCall.method, PersistentCall.params],
    "response": PersistentCall.response,
    "status": PersistentCall.status,
    "additionalInfo": PersistentCall.additional_info,
}


@dataclass(frozen=True, kw_only=True)
class NewCall:
    """A call that is to be kept. `params` and `additional_info` are JSON text."""

    id: uuid.UUID
    expires_ms: int
    oneway: bool
    method: str
    params: str
    retries: int | None = None
    additional_info: str | None = None


def create(session: Session, device_id: uuid.UUID, new: NewCall, now_ms: int) -> PersistentCall:
    """Store a call, and return it: QUEUED, or EXPIRED if its time is over already.

    Raises:
        Refused: There is a call with this id, it is too large, or the device has too many.
    """
    size = sum(len(text.encode()) for text in (new.method, new.params, new.additional_info or ""))
    if size > ONE_SIZE:
        raise Refused(f"a persistent call has room for {ONE_SIZE} bytes")
    if session.scalar(select(PersistentCall.number).where(PersistentCall.id == new.id)) is not None:
        raise Refused("there is a persistent call with this id already")
    is_open = new.expires_ms > now_ms
    if is_open:
        waiting = session.execute(
            select(func.count(), func.coalesce(func.sum(PersistentCall.size), 0)).where(*_open(device_id))
        ).one()
        if waiting[0] >= OPEN or waiting[1] + size > OPEN_SIZE:
            raise Refused(f"a device has room for {OPEN} open persistent calls, and for {OPEN_SIZE} bytes of them")
    _make_room(session, device_id, size)
    status = CallStatus.QUEUED if is_open else CallStatus.EXPIRED
    call = PersistentCall(
        device_id=device_id, status=status.value, is_open=is_open, size=size, created_ms=now_ms, timeouts=0, **vars(new)
    )
    session.add(call)
    session.flush()
    if is_open:
        announcements.announce(session.connection(), Kind.CALLS, device_id)
    return call


def _make_room(session: Session, device_id: uuid.UUID, size: int) -> None:
    """Delete a device's oldest finished calls until there is room for another one."""
    own = PersistentCall.device_id == device_id
    kept, kept_size = session.execute(
        select(func.count(), func.coalesce(func.sum(PersistentCall.size), 0)).where(own)
    ).one()
    if kept < KEPT and kept_size + size <= KEPT_SIZE:
        return
    finished = select(PersistentCall.number, PersistentCall.size).where(own, PersistentCall.is_open.is_(False))
    last = None
    for number, freed in session.execute(finished.order_by(PersistentCall.number)):
        if kept < KEPT and kept_size + size <= KEPT_SIZE:
            break
        kept, kept_size, last = kept - 1, kept_size - freed, number
    if last is not None:
        session.execute(
            delete_from(PersistentCall).where(own, PersistentCall.is_open.is_(False), PersistentCall.number <= last)
        )


def _open(device_id: uuid.UUID) -> tuple[Any, Any]:
    return PersistentCall.device_id == device_id, PersistentCall.is_open.is_(True)


def get(session: Session, call_id: uuid.UUID) -> PersistentCall:
    """Return a call. Raises UnknownId."""
    call = session.scalar(select(PersistentCall).where(PersistentCall.id == call_id))
    if call is None:
        raise UnknownId("Rpc", call_id)
    return call


def page(
    session: Session, device_id: uuid.UUID, status: CallStatus | None, wanted: PageQuery
) -> tuple[Sequence[PersistentCall], int]:
    """Return a page of a device's calls, of one status or of all, and the number of them.

    As in ThingsBoard, nothing is searched.
    """
    statement = select(PersistentCall).where(PersistentCall.device_id == device_id)
    if status is not None:
        statement = statement.where(PersistentCall.status == status.value)
    rows, total = pages.page(session, statement, wanted, sorts=SORTS, searched=(), key=PersistentCall.number)
    return [row[0] for row in rows], total


def waiting(session: Session) -> set[uuid.UUID]:
    """Return the devices with calls that were never sent."""
    statement = select(PersistentCall.device_id).where(
        PersistentCall.is_open.is_(True), PersistentCall.status == CallStatus.QUEUED.value
    )
    return set(session.scalars(statement.distinct()))


def open_calls(session: Session, device_id: uuid.UUID, now_ms: int) -> Sequence[PersistentCall]:
    """Return a device's open calls whose time is not over, in the order in which they were made."""
    statement = select(PersistentCall).where(*_open(device_id), PersistentCall.expires_ms > now_ms)
    return session.scalars(statement.order_by(PersistentCall.number)).all()


def advance(session: Session, call_id: uuid.UUID, status: CallStatus) -> bool:
    """Note that a call was sent, delivered or not acknowledged; return whether it is open still."""
    call = _find_open(session, call_id)
    if call is None:
        return False
    if call.status not in _FROM[status]:
        return True
    call.status = status.value
    if status is CallStatus.DELIVERED:
        call.is_open = not call.oneway
    elif status is CallStatus.TIMEOUT:
        most = RETRIES if call.retries is None else min(call.retries, RETRIES)
        if call.timeouts >= most:
            why = "There was a Timeout and all retry attempts have been exhausted. Retry attempts set: "
            _finish(call, CallStatus.FAILED, json.dumps({"error": f"{why}{most}"}, separators=(",", ":")))
        else:
            call.timeouts += 1
    if not call.is_open:
        _announce_end(session, call)
    return call.is_open


def answer(session: Session, call_id: uuid.UUID, response: str | None) -> bool:
    """Store a device's answer, JSON text or nothing; return whether the call was open."""
    call = _find_open(session, call_id)
    if call is None:
        return False
    _finish(call, CallStatus.SUCCESSFUL, response)
    _announce_end(session, call)
    return True


def _find_open(session: Session, call_id: uuid.UUID) -> PersistentCall | None:
    statement = select(PersistentCall).where(PersistentCall.id == call_id, PersistentCall.is_open.is_(True))
    return session.scalar(statement)


def _finish(call: PersistentCall, status: CallStatus, response: str | None) -> None:
    call.status, call.is_open, call.response = status.value, False, response
    call.size += len((response or "").encode())


def _announce_end(session: Session, call: PersistentCall) -> None:
    announcements.announce(session.connection(), Kind.CALL_OVER, call.device_id, call=str(call.id))


def delete(session: Session, call: PersistentCall) -> None:
    """Delete a call."""
    session.delete(call)
    session.flush()
    _announce_end(session, call)


def next_expiry(session: Session) -> int | None:
    """Return when the next open call expires, in milliseconds since the epoch; None if none is open."""
    return session.scalar(select(func.min(PersistentCall.expires_ms)).where(PersistentCall.is_open.is_(True)))


def expire(session: Session, now_ms: int) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """End calls whose time is over, some at a time; return the ids of their devices and their own."""
    over = select(PersistentCall).where(PersistentCall.is_open.is_(True), PersistentCall.expires_ms <= now_ms)
    expired = session.scalars(over.order_by(PersistentCall.expires_ms).limit(_AT_ONCE)).all()
    for call in expired:
        _finish(call, CallStatus.EXPIRED, None)
        _announce_end(session, call)
    return [(call.device_id, call.id) for call in expired]
