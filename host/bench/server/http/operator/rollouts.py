"""Routes of rollouts: not ThingsBoard's."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Path, Query
from sqlalchemy.orm import Session

from bench.registry import rollouts
from bench.registry.model import Rollout, RolloutDevice
from bench.registry.packages import Kind
from bench.registry.pages import PageQuery
from bench.registry.rollout_states import DeviceState, RolloutState
from bench.registry.rollouts import Plan, View
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import Uuid, listed, page_query
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.schemas.rollouts import RolloutDeviceJson, RolloutForm, RolloutJson

router = ApiRouter(AuthenticatedRoute, "rollouts", "/rollouts")

_SECOND_MS = 1000
_RolloutId = Annotated[Uuid, Path(alias="rolloutId")]
_Wanted = Annotated[PageQuery, page_query(rollouts.SORTS)]
_WantedDevices = Annotated[PageQuery, page_query(rollouts.DEVICE_SORTS)]


@router.post("", summary="Begin a rollout: a package for devices of a profile, a few at first, then the others")
async def start(form: RolloutForm, caller: Operator) -> RolloutJson:
    plan = Plan(
        package_id=form.package_id,
        profile_id=form.device_profile_id,
        attributes=form.attributes,
        canary=form.canary,
        at_most=form.at_most,
        rate_number=form.rate_number,
        rate_ms=form.rate_seconds * _SECOND_MS,
        stop_percent=form.stop_percent,
        stop_failures=form.stop_failures,
        timeout_ms=form.timeout_seconds * _SECOND_MS,
        then_profile=form.then_profile,
    )

    def change(session: Session) -> tuple[Rollout, RolloutJson]:
        rollout = rollouts.start(session, plan)
        return rollout, _json(rollouts.view(session, rollout.id))

    answer = await caller.change("rollout.started", "", change)
    caller.api.rollouts.changed()
    return answer


@router.get("", summary="Rollouts")
async def page(caller: Operator, wanted: _Wanted) -> PageData[RolloutJson]:
    return listed(await caller.read(rollouts.page, wanted), wanted, _json)


@router.get("/{rolloutId}", summary="A rollout, and how far it is")
async def get(rollout_id: _RolloutId, caller: Operator) -> RolloutJson:
    return _json(await caller.read(rollouts.view, rollout_id))


@router.get("/{rolloutId}/devices", summary="The devices of a rollout, each with its result")
async def page_of_devices(
    rollout_id: _RolloutId,
    caller: Operator,
    wanted: _WantedDevices,
    states: Annotated[
        list[DeviceState] | None, Query(alias="state", max_length=len(DeviceState), description="Only those.")
    ] = None,
) -> PageData[RolloutDeviceJson]:
    found = await caller.read(rollouts.devices, rollout_id, wanted, states)
    return listed(found, wanted, _device_json)


@router.post("/{rolloutId}/pause", summary="Have no further device get the package for now")
async def pause(rollout_id: _RolloutId, caller: Operator) -> RolloutJson:
    return await _change(caller, rollout_id, "rollout.paused", rollouts.pause)


@router.post("/{rolloutId}/resume", summary="Go on with a paused rollout")
async def resume(rollout_id: _RolloutId, caller: Operator) -> RolloutJson:
    return await _change(caller, rollout_id, "rollout.resumed", rollouts.resume)


@router.post("/{rolloutId}/stop", summary="Stop a rollout for good; devices that have not begun get nothing")
async def stop(rollout_id: _RolloutId, caller: Operator) -> RolloutJson:
    return await _change(caller, rollout_id, "rollout.stopped", rollouts.stop)


async def _change(caller: Caller, rollout_id: _RolloutId, what: str, action: Callable[[Rollout], None]) -> RolloutJson:
    def change(session: Session) -> tuple[Rollout, RolloutJson]:
        rollout = rollouts.get(session, rollout_id)
        action(rollout)
        session.flush()
        return rollout, _json(rollouts.view(session, rollout_id))

    answer = await caller.change(what, rollout_id, change)
    caller.api.rollouts.changed()
    return answer


def _json(view: View) -> RolloutJson:
    rollout, counts = view.rollout, {each.value: view.counts.get(each, 0) for each in DeviceState}
    fields: dict[str, Any] = {
        name: getattr(rollout, name)
        for name in (
            *("id", "title", "package_id", "attributes", "canary", "at_most", "rate_number", "stop_percent"),
            *("stop_failures", "then_profile", "reason"),
        )
    }
    fields |= counts
    return RolloutJson(
        **fields,
        type=Kind(rollout.kind),
        version=rollout.package_version,
        device_profile_id=rollout.profile_id,
        device_profile_name=view.profile,
        rate_seconds=rollout.rate_ms // _SECOND_MS,
        timeout_seconds=rollout.timeout_ms // _SECOND_MS,
        state=RolloutState(rollout.state),
        created_time=rollout.created_ms,
        last_sign_time=rollout.turned_ms,
        ended_time=rollout.ended_ms,
        devices=sum(counts.values()),
    )


def _device_json(found: tuple[RolloutDevice, str]) -> RolloutDeviceJson:
    row, step = found
    return RolloutDeviceJson(
        id=row.device_id,
        name=row.name,
        state=DeviceState(row.state),
        cause=row.cause,
        step=step,
        assigned_time=row.assigned_ms,
        ended_time=row.ended_ms,
    )
