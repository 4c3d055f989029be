"""Results of a rollout's devices, and what becomes of the package that they were assigned."""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session, aliased

from bench.registry import packages
from bench.registry.model import Device, Package, Rollout, RolloutDevice, Telemetry
from bench.registry.packages import COLUMNS, Kind
from bench.registry.rollout_states import DeviceState, RolloutState

_LONGEST = 255
# Of a device that has begun, and is through neither way.
_BUSY = ("DOWNLOADING", "DOWNLOADED", "VERIFIED", "UPDATING")
_DONE, _FAILED = "UPDATED", "FAILED"
_MINUTE_MS = 60_000
# Text that a server stores as a number, as ThingsBoard does: digits, and at most one point, not at the end.
_NUMERIC = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)", re.ASCII)


@dataclass(frozen=True)
class Result:
    """The result of a device. `puts_back`: it is to have what it had before."""

    row: RolloutDevice
    state: DeviceState
    cause: str = ""
    puts_back: bool = False


def with_devices(rollout: Rollout) -> Any:
    """Return the statement of a rollout's rows beside their devices: `RolloutDevice`, `there`, `own` and so on."""
    own, _, _ = COLUMNS[Kind(rollout.kind)]
    return (
        select(
            RolloutDevice,
            Device.id.label("there"),
            own.label("own"),
            Device.profile_id,
            Device.deactivated_ms,
            Device.decommissioned_ms,
        )
        .outerjoin(Device, Device.id == RolloutDevice.device_id)
        .where(RolloutDevice.rollout_id == rollout.id)
    )


def left_out(rollout: Rollout, found: Any, expected: uuid.UUID | None) -> Result | None:
    """Return the result of a device that belongs to a rollout no more; None if it does.

    Args:
        rollout: The rollout.
        found: A row of `with_devices`.
        expected: The package of its own that nobody but us gave it.
    """

    def left(cause: str, *, puts_back: bool = True) -> Result:
        return Result(found.RolloutDevice, DeviceState.LEFT_OUT, cause, puts_back)

    if found.there is None:
        return left("deleted", puts_back=False)
    if found.own != expected:
        return left("an operator assigned it another package", puts_back=False)
    if found.decommissioned_ms is not None:
        return left("decommissioned")
    if found.deactivated_ms is not None:
        return left("deactivated")
    return left("it has another profile") if found.profile_id != rollout.profile_id else None


def of_devices(session: Session, rollout: Rollout, now: int) -> list[Result]:
    """Return the results that are there by now of the devices that were assigned the package."""
    prefix = Kind(rollout.kind).prefix
    statement = with_devices(rollout).where(RolloutDevice.state == DeviceState.UPDATING)
    for name, key in (
        ("state", f"{prefix}_state"),
        ("error", f"{prefix}_error"),
        ("title", f"current_{prefix}_title"),
        ("version", f"current_{prefix}_version"),
    ):
        series = aliased(Telemetry)
        statement = statement.outerjoin(
            series, and_(series.device_id == RolloutDevice.device_id, series.key == key)
        ).add_columns(series.value.label(name), series.ts_ms.label(f"{name}_ms"))
    found = session.execute(statement).all()
    judged = (left_out(rollout, each, rollout.package_id) or _result(rollout, each, now) for each in found)
    return [each for each in judged if each is not None]


def _result(rollout: Rollout, found: Any, now: int) -> Result | None:
    row: RolloutDevice = found.RolloutDevice
    since = row.assigned_ms or 0

    def after(name: str) -> str:
        ts = getattr(found, f"{name}_ms")
        return text(getattr(found, name)) if ts is not None and ts >= since else ""

    state = after("state")
    has = found.title in reported_as(rollout.title) and found.version in reported_as(rollout.package_version)
    if state == _FAILED:
        return _failed(row, after("error") or "without a cause")
    if has and state not in _BUSY:
        return Result(row, DeviceState.UPDATED)
    if row.due_ms is not None and now >= row.due_ms:
        within = f"within {rollout.timeout_ms / _MINUTE_MS:g} min"
        if state == _DONE:
            shown = f"{text(found.title)} {text(found.version)}".strip()
            return _failed(row, f"{_DONE}, but it has {shown or 'no version'}")
        return _failed(row, f"{state}, and no result {within}" if state in _BUSY else f"no word {within}")
    if rollout.state == RolloutState.STOPPED and state not in (*_BUSY, _DONE):
        return Result(row, DeviceState.LEFT_OUT, "the rollout was stopped before it began", puts_back=True)
    return None


def _failed(row: RolloutDevice, cause: str) -> Result:
    # put back, as it is not to try again, or to begin hours later, unasked
    return Result(row, DeviceState.FAILED, cause, puts_back=True)


def reported_as(wanted: str) -> set[str]:
    """Return the JSON texts that are stored where a device says that it has this title or version."""
    found: set[str] = {json.dumps(wanted)}
    if _NUMERIC.fullmatch(wanted):
        found.add(json.dumps(float(wanted) if "." in wanted else int(wanted)))
    return found


def text(value: str | None) -> str:
    """Return a value of telemetry as text that every database can hold; "" if it is neither text nor a number."""
    found = json.loads(value or "null")
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return ""
    return str(found)[:_LONGEST].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def settle(session: Session, rollout: Rollout, results: Sequence[Result], now: int) -> None:
    """Store results, and give devices back the package that they had where that is to be. They are notified.

    Args:
        session: In a transaction that may write.
        rollout: Their rollout.
        results: Results, of which `state` is final.
        now: The time, in milliseconds since the epoch.
    """
    own, _, _ = COLUMNS[Kind(rollout.kind)]
    for each in results:
        each.row.state, each.row.cause, each.row.ended_ms = each.state.value, each.cause, now
    back = {each.row.device_id: each.row.previous_id for each in results if each.puts_back and each.row.assigned_ms}
    for device_id, previous in back.items():
        may_have = or_(Package.profile_id.is_(None), Package.profile_id == Device.profile_id)
        still_there = select(Package.id).where(Package.id == previous, Package.id != rollout.package_id, may_have)
        values = {own.key: still_there.correlate(Device).scalar_subquery(), "version": Device.version + 1}
        session.execute(
            update(Device).where(Device.id == device_id).values(values).execution_options(synchronize_session=False)
        )
    if back:
        packages.notify_devices(session, back)
