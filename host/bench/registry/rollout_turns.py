"""Turns of a rollout: results are stored, it is stopped or finished, and further devices are assigned the package.

A turn is one transaction, which decides by what it finds, and runs alone (see `Registry.write`): however many servers
make turns, and wherever one of them dies, no device is assigned the package twice, and none is forgotten. Whether there
is anything to do, and which devices come next, is looked up before, where nobody waits for it.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bench.registry import audit, packages, rollout_results
from bench.registry.audit import SERVER, SUCCESS, UNKNOWN_ORIGIN, Subject
from bench.registry.model import Device, Profile, Rollout, RolloutDevice
from bench.registry.packages import COLUMNS, Kind
from bench.registry.rollout_results import Result
from bench.registry.rollout_states import DeviceState, RolloutState

ENOUGH = 5
"""Results until a share of failures means anything."""
SIGN_MS = 10_000
"""Milliseconds between two signs of a server that drives a rollout with nothing else to do."""
_GAP_MS = 3 * SIGN_MS
# Devices that one turn assigns the package, which takes some 50 ms.
_PER_TURN = 50


@dataclass(frozen=True)
class Turned:
    """The outcome of a turn."""

    rollout: Rollout
    assigned: int
    results: Sequence[Result]
    is_over: bool
    """True if it was stopped or finished by this turn."""
    is_whole: bool
    """True if its profile has the package now."""


def active(session: Session) -> Sequence[uuid.UUID]:
    """Return the rollouts that are not over."""
    return session.scalars(select(Rollout.id).where(Rollout.ended_ms.is_(None)).order_by(Rollout.created_ms)).all()


def look(session: Session, rollout_id: uuid.UUID, now: int) -> list[uuid.UUID] | None:
    """Return the devices that are next in a rollout; None if a turn would do nothing now.

    Args:
        session: The transaction, which need not write.
        rollout_id: The rollout.
        now: The time, in milliseconds since the epoch.
    """
    rollout = session.get(Rollout, rollout_id)
    if rollout is None or rollout.ended_ms is not None:
        return None
    counts = _counts(session, rollout)
    room = min(_room(session, rollout, counts, now), counts[DeviceState.PENDING])
    is_due = (
        room > 0
        or _is_through(rollout, counts)
        or abs(now - rollout.turned_ms) >= SIGN_MS
        or bool(rollout_results.of_devices(session, rollout, now))
    )
    return _next(session, rollout, room) if is_due else None


def _next(session: Session, rollout: Rollout, number: int) -> list[uuid.UUID]:
    """Return pending devices: those that are online first, as their word comes soon. Deleted ones come before all."""
    statement = (
        select(RolloutDevice.device_id)
        .outerjoin(Device, Device.id == RolloutDevice.device_id)
        .where(RolloutDevice.rollout_id == rollout.id, RolloutDevice.state == DeviceState.PENDING)
        .order_by(func.coalesce(Device.is_online, True).desc(), RolloutDevice.name)
    )
    return list(session.scalars(statement.limit(number))) if number > 0 else []


def turn(session: Session, rollout_id: uuid.UUID, candidates: Sequence[uuid.UUID], now: int) -> Turned | None:
    """Do what is to be done in a rollout now; return None if it is over.

    Args:
        session: In a transaction that may write, and runs alone.
        rollout_id: The rollout.
        candidates: The devices that are next, as `look` found them.
        now: The time, in milliseconds since the epoch.
    """
    rollout = session.get(Rollout, rollout_id)
    if rollout is None or rollout.ended_ms is not None:
        return None
    _allow_for_gap(session, rollout, now)
    results = rollout_results.of_devices(session, rollout, now)
    rollout_results.settle(session, rollout, results, now)
    session.flush()
    counts = _counts(session, rollout)
    was_open = rollout.state in (RolloutState.RUNNING, RolloutState.PAUSED)
    if was_open and (reason := _stop_reason(rollout, counts, results)):
        rollout.state, rollout.reason = RolloutState.STOPPED.value, reason
        results += (taken := rollout_results.of_devices(session, rollout, now))
        rollout_results.settle(session, rollout, taken, now)
        session.flush()
        counts = _counts(session, rollout)
    assigned = _assign(session, rollout, candidates[: max(0, _room(session, rollout, counts, now))], now)
    session.flush()
    is_whole = False
    if _is_through(rollout, counts := _counts(session, rollout)):
        rollout.ended_ms = now
        if rollout.state == RolloutState.RUNNING:
            rollout.state = RolloutState.FINISHED.value
            is_whole = _give_to_profile(session, rollout, counts)
    is_over = was_open and rollout.state in (RolloutState.STOPPED, RolloutState.FINISHED)
    if is_over:
        _record(session, f"rollout.{rollout.state}", rollout)
    return Turned(rollout, assigned, results, is_over, is_whole)


def _record(session: Session, what: str, entity: Rollout | Profile) -> None:
    session.flush()
    entry = audit.entry(UNKNOWN_ORIGIN, who=SERVER, what=what, entity=Subject.of(entity), result=SUCCESS)
    audit.record(session.connection(), [entry])


def _counts(session: Session, rollout: Rollout) -> dict[DeviceState, int]:
    """Return how many devices are in each state."""
    found = (
        select(RolloutDevice.state, func.count())
        .where(RolloutDevice.rollout_id == rollout.id)
        .group_by(RolloutDevice.state)
    )
    numbers = {DeviceState(state): number for state, number in session.execute(found)}
    return {each: numbers.get(each, 0) for each in DeviceState}


def _room(session: Session, rollout: Rollout, counts: dict[DeviceState, int], now: int) -> int:
    """Return how many devices may be assigned the package now."""
    if rollout.state != RolloutState.RUNNING:
        return 0
    under_way, healthy = counts[DeviceState.UPDATING], counts[DeviceState.UPDATED]
    room = min(_PER_TURN, rollout.at_most - under_way)
    if healthy < rollout.canary:
        room = min(room, rollout.canary - healthy - under_way)
    if room > 0:
        lately = RolloutDevice.rollout_id == rollout.id, RolloutDevice.assigned_ms > now - rollout.rate_ms
        room = min(room, rollout.rate_number - (session.scalar(select(func.count()).where(*lately)) or 0))
    return room


def _is_through(rollout: Rollout, counts: dict[DeviceState, int]) -> bool:
    if counts[DeviceState.UPDATING] or rollout.state == RolloutState.PAUSED:
        return False
    return rollout.state == RolloutState.STOPPED or not counts[DeviceState.PENDING]


def _allow_for_gap(session: Session, rollout: Rollout, now: int) -> None:
    """Give devices the time during which no server was there for them."""
    gap = now - rollout.turned_ms
    if gap >= _GAP_MS:
        waiting = RolloutDevice.rollout_id == rollout.id, RolloutDevice.state == DeviceState.UPDATING
        session.execute(update(RolloutDevice).where(*waiting).values(due_ms=RolloutDevice.due_ms + gap))
    if abs(gap) >= SIGN_MS:
        rollout.turned_ms = now


def _stop_reason(rollout: Rollout, counts: dict[DeviceState, int], results: Sequence[Result]) -> str:
    """Return why a rollout is to stop; "" if it is not."""
    failed, healthy = counts[DeviceState.FAILED], counts[DeviceState.UPDATED]
    if not failed:
        return ""
    last = next((f": {each.row.name}: {each.cause}" for each in results if each.state is DeviceState.FAILED), "")
    if healthy < rollout.canary:
        return f"one of the first devices failed{last}"
    number = failed + healthy
    if rollout.stop_failures is not None and failed >= rollout.stop_failures:
        return f"{failed} of {number} devices failed{last}"
    percent = rollout.stop_percent
    if percent is not None and number >= ENOUGH and failed * 100 >= percent * number:
        return f"{failed} of {number} devices failed, {percent:g} % or more{last}"
    return ""


def _assign(session: Session, rollout: Rollout, candidates: Sequence[uuid.UUID], now: int) -> int:
    """Assign devices the package, and notify them; return how many."""
    if not candidates:
        return 0
    own, _, notified = COLUMNS[Kind(rollout.kind)]
    statement = rollout_results.with_devices(rollout).where(
        RolloutDevice.device_id.in_(candidates), RolloutDevice.state == DeviceState.PENDING
    )
    gone, assigned = list[Result](), list[uuid.UUID]()
    for found in session.execute(statement).all():
        row: RolloutDevice = found.RolloutDevice
        out = rollout_results.left_out(rollout, found, row.previous_id)
        if out is not None:
            gone.append(out)
            continue
        row.state, row.assigned_ms, row.due_ms = DeviceState.UPDATING.value, now, now + rollout.timeout_ms
        assigned.append(row.device_id)
    rollout_results.settle(session, rollout, gone, now)
    if assigned:
        # whoever saves one of these devices as it was before must notice; each is notified, even of what it had
        values = {own.key: rollout.package_id, notified.key: None, "version": Device.version + 1}
        session.execute(update(Device).where(Device.id.in_(assigned)).values(values))
        packages.notify_devices(session, assigned)
    return len(assigned)


def _give_to_profile(session: Session, rollout: Rollout, counts: dict[DeviceState, int]) -> bool:
    """Assign the package to the profile, if that is wanted and no device failed."""
    if not rollout.then_profile or counts[DeviceState.FAILED]:
        return False
    profile = session.get(Profile, rollout.profile_id)
    if profile is None:
        return False
    _, own, _ = COLUMNS[Kind(rollout.kind)]
    setattr(profile, own.key, rollout.package_id)
    _record(session, "profile.updated", profile)
    return True
