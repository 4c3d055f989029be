"""Rollouts: a package for the devices of a profile, a few at first, then the others, until too many fail.

All of it is in the database: which devices, and how far each is. So a rollout survives its server, and operators'
requests and the turns of `rollout_turns` are transactions that run one after the other, whatever the server.
"""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, Uuid, and_, delete, func, insert, literal, not_, select
from sqlalchemy.orm import Session

from bench.errors import Refused, UnknownId
from bench.registry import packages, pages, profiles, rollout_results
from bench.registry.clock import now_ms
from bench.registry.device_query import Key
from bench.registry.model import Device, Profile, Rollout, RolloutDevice, Telemetry
from bench.registry.packages import COLUMNS, Kind
from bench.registry.pages import PageQuery
from bench.registry.rollout_results import Result
from bench.registry.rollout_states import DeviceState, RolloutState

KEPT = 50
"""Rollouts that are over, and are kept with the results of their devices: the newest."""
AT_MOST = 1000
"""Devices under way at once, at most: each turn looks at all of them."""
SORTS: Mapping[str, Any] = {"createdTime": Rollout.created_ms}
DEVICE_SORTS: Mapping[str, Any] = {
    "createdTime": RolloutDevice.name,
    "name": RolloutDevice.name,
    "state": RolloutDevice.state,
    "endedTime": RolloutDevice.ended_ms,
}
_OPEN = (RolloutState.RUNNING.value, RolloutState.PAUSED.value)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A rollout as it is wanted. Times are in milliseconds."""

    package_id: uuid.UUID
    profile_id: uuid.UUID
    attributes: dict[str, str | float | bool]
    canary: int
    at_most: int
    rate_number: int
    rate_ms: int
    stop_percent: float | None
    stop_failures: int | None
    timeout_ms: int
    then_profile: bool


@dataclass(frozen=True)
class View:
    """A rollout, the name of its profile, and how many of its devices are in which state."""

    rollout: Rollout
    profile: str
    counts: Mapping[str, int]


def start(session: Session, plan: Plan) -> Rollout:
    """Begin a rollout: its devices are those of the profile that do not have the package now.

    Args:
        session: In a transaction that may write.
        plan: What is wanted.

    Raises:
        NotFound: There is no such package or profile.
        Refused: The profile's devices cannot have the package, or have it by the profile; or another rollout is not
            over.
    """
    profile, package = profiles.get(session, plan.profile_id), packages.get(session, plan.package_id)
    kind = Kind(package.kind)
    own, profiles_own, _ = COLUMNS[kind]
    packages.check_assignable(session, kind, package.id, profile.id)
    if getattr(profile, profiles_own.key) == package.id:
        raise Refused(f"profile {profile.name} is assigned this package: all its devices have it, or fetch it now")
    if plan.then_profile and plan.attributes:
        raise Refused("a profile cannot get a package that was for some of its devices only")
    earlier = session.scalars(select(Rollout).where(Rollout.profile_id == profile.id, Rollout.ended_ms.is_(None))).all()
    for each in earlier:
        if each.state in _OPEN:
            raise Refused(f"rollout {str(each.id)[:8]} of profile {profile.name} is {each.state}: stop it first")
        if each.kind == kind:
            _end(session, each)
    rollout = Rollout(
        id=uuid.uuid4(),
        kind=package.kind,
        title=package.title,
        package_version=package.package_version,
        state=RolloutState.RUNNING.value,
        **asdict(plan),
    )
    session.add(rollout)
    session.flush()
    columns = ["rollout_id", "device_id", "name", "state", "cause", "previous_id"]
    values = (literal(rollout.id, Uuid()), Device.id, Device.name, literal(DeviceState.PENDING.value, Text()))
    wanted = (
        Device.profile_id == profile.id,
        Device.deactivated_ms.is_(None),
        Device.decommissioned_ms.is_(None),
        not_(_has(kind, package.title, package.package_version)),
        *(_attribute(key, value) for key, value in plan.attributes.items()),
    )
    devices = select(*values, literal("", Text()), own).where(*wanted)
    session.execute(insert(RolloutDevice).from_select(columns, devices))
    _forget(session)
    return rollout


def _has(kind: Kind, title: str, version: str) -> ColumnElement[bool]:
    """Return the condition that a device said that it has a package."""

    def reported(key: str, value: str) -> ColumnElement[bool]:
        series = Telemetry.device_id == Device.id, Telemetry.key == f"current_{kind.prefix}_{key}"
        return select(Telemetry.key).where(*series, Telemetry.value.in_(rollout_results.reported_as(value))).exists()

    return and_(reported("title", title), reported("version", version))


def _attribute(name: str, value: str | float | bool) -> ColumnElement[bool]:  # noqa: FBT001 - a value
    key = Key("ATTRIBUTE", name)
    if isinstance(value, bool):
        return key.truth("EQUAL", value)
    return key.string("EQUAL", value, ignore_case=False) if isinstance(value, str) else key.number("EQUAL", value)


def _end(session: Session, rollout: Rollout) -> None:
    """End a stopped rollout, whose last devices are to be another one's."""
    now = now_ms()
    statement = rollout_results.with_devices(rollout).where(RolloutDevice.state == DeviceState.UPDATING)
    results = [
        Result(found.RolloutDevice, DeviceState.LEFT_OUT, "another rollout began", found.own == rollout.package_id)
        for found in session.execute(statement).all()
    ]
    rollout_results.settle(session, rollout, results, now)
    rollout.ended_ms = now


def _forget(session: Session) -> None:
    """Delete the oldest rollouts that are over."""
    over = select(Rollout.id).where(Rollout.ended_ms.is_not(None)).order_by(Rollout.created_ms.desc()).offset(KEPT)
    for rollout_id in session.scalars(over).all():
        session.execute(delete(Rollout).where(Rollout.id == rollout_id))


def get(session: Session, rollout_id: uuid.UUID) -> Rollout:
    """Return the rollout with this id. Raises NotFound."""
    found = session.get(Rollout, rollout_id)
    if found is None:
        raise UnknownId("Rollout", rollout_id)
    return found


def view(session: Session, rollout_id: uuid.UUID) -> View:
    """Return a rollout with its numbers. Raises NotFound."""
    rollout = get(session, rollout_id)
    return _views(session, [rollout])[0]


def page(session: Session, wanted: PageQuery) -> tuple[list[View], int]:
    """Return a page of rollouts, and the number of rollouts in all."""
    searched = (Rollout.title, Rollout.package_version)
    rows, total = pages.page(session, select(Rollout), wanted, sorts=SORTS, searched=searched, key=Rollout.id)
    return _views(session, [rollout for (rollout,) in rows]), total


def _views(session: Session, found: list[Rollout]) -> list[View]:
    ids = [each.id for each in found]
    numbers: dict[uuid.UUID, dict[str, int]] = {each: {} for each in ids}
    columns = RolloutDevice.rollout_id, RolloutDevice.state
    counted = select(*columns, func.count()).where(RolloutDevice.rollout_id.in_(ids)).group_by(*columns)
    for rollout_id, state, number in session.execute(counted):
        numbers[rollout_id][state] = number
    of_profiles = select(Profile.id, Profile.name).where(Profile.id.in_([each.profile_id for each in found]))
    names: dict[uuid.UUID, str] = {row.id: row.name for row in session.execute(of_profiles)}
    return [View(each, names.get(each.profile_id, ""), numbers[each.id]) for each in found]


def devices(
    session: Session, rollout_id: uuid.UUID, wanted: PageQuery, states: list[DeviceState] | None = None
) -> tuple[list[tuple[RolloutDevice, str]], int]:
    """Return a page of a rollout's devices, each with the state that it reported last, and the number of them in all.

    Args:
        session: The transaction.
        rollout_id: The rollout.
        wanted: The page.
        states: Only devices in these states; None or empty: all.

    Raises:
        NotFound: There is no such rollout.
    """
    prefix = Kind(get(session, rollout_id).kind).prefix
    on = and_(Telemetry.device_id == RolloutDevice.device_id, Telemetry.key == f"{prefix}_state")
    statement = select(RolloutDevice, Telemetry.value).outerjoin(Telemetry, on)
    statement = statement.where(RolloutDevice.rollout_id == rollout_id)
    if states:
        statement = statement.where(RolloutDevice.state.in_([each.value for each in states]))
    searched, key = (RolloutDevice.name, RolloutDevice.cause), RolloutDevice.device_id
    rows, total = pages.page(session, statement, wanted, sorts=DEVICE_SORTS, searched=searched, key=key)
    updating = DeviceState.UPDATING.value
    return [(row, rollout_results.text(step) if row.state == updating else "") for row, step in rows], total


# Operators' requests.


def pause(rollout: Rollout) -> None:
    """Have no further device get the package for now. Raises Refused: it is not running."""
    _move(rollout, RolloutState.PAUSED, RolloutState.RUNNING)


def resume(rollout: Rollout) -> None:
    """Go on with a paused rollout. Raises Refused: it is not paused."""
    _move(rollout, RolloutState.RUNNING, RolloutState.PAUSED)


def stop(rollout: Rollout) -> None:
    """Stop a rollout for good. Raises Refused: it is over."""
    _move(rollout, RolloutState.STOPPED, RolloutState.RUNNING, RolloutState.PAUSED)
    rollout.reason = "by an operator"


def _move(rollout: Rollout, to: RolloutState, *of: RolloutState) -> None:
    if rollout.state not in {each.value for each in of}:
        raise Refused(f"rollout {str(rollout.id)[:8]} is {rollout.state}, and not {' or '.join(of)}")
    rollout.state = to.value
