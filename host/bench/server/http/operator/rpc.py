"""Routes of calls to devices."""

from typing import Any

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from bench.server.http.operator.authorization import SUCCESS, AnyUser, Caller, TextRoute
from bench.server.http.operator.params import DeviceId
from bench.server.http.operator.schemas.telemetry import RpcForm
from bench.server.presence import CallUnanswered

router = APIRouter(route_class=TextRoute, tags=["calls"])

MIN_TIMEOUT_MS = 5_000
_TIMEOUT_MS = 10_000
_UNDELIVERED = {"description": "Nobody listens for the device, or it does not answer."}
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"description": "The device's answer; nothing if there is none."}}


@router.post("/rpc/oneway/{deviceId}", summary="Call, without an answer", responses={**_ANSWERS, 504: _UNDELIVERED})
async def oneway(device_id: DeviceId, form: RpcForm, caller: AnyUser) -> Response:
    return await _call(caller, device_id, form, oneway=True, undelivered=504, unanswered=504)


@router.post(
    "/rpc/twoway/{deviceId}", summary="Call, and wait for the answer", responses={**_ANSWERS, 504: _UNDELIVERED}
)
async def twoway(device_id: DeviceId, form: RpcForm, caller: AnyUser) -> Response:
    return await _call(caller, device_id, form, oneway=False, undelivered=504, unanswered=504)


_FIRST = {**_ANSWERS, 408: {"description": "The device does not answer."}, 409: _UNDELIVERED}


@router.post("/plugins/rpc/oneway/{deviceId}", summary="Call as the first version has it", responses=_FIRST)
async def oneway_first(device_id: DeviceId, form: RpcForm, caller: AnyUser) -> Response:
    return await _call(caller, device_id, form, oneway=True, undelivered=409, unanswered=408)


@router.post("/plugins/rpc/twoway/{deviceId}", summary="Call and wait, as the first version has it", responses=_FIRST)
async def twoway_first(device_id: DeviceId, form: RpcForm, caller: AnyUser) -> Response:
    return await _call(caller, device_id, form, oneway=False, undelivered=409, unanswered=408)


async def _call(
    caller: Caller, device_id: DeviceId, form: RpcForm, *, oneway: bool, undelivered: int, unanswered: int
) -> Response:
    device = await caller.read(lambda session: caller.device(session, device_id))
    timeout_ms = max(MIN_TIMEOUT_MS, _TIMEOUT_MS if form.timeout is None else form.timeout)
    call = caller.api.presence.call(device_id, form.method, form.params, oneway=oneway, timeout_s=timeout_ms / 1000)
    try:
        answer = await call
    except CallUnanswered as error:
        await caller.record("device.rpc_call", device.name, "TIMEOUT" if error.sent else "NO_ACTIVE_CONNECTION")
        return Response(status_code=unanswered if error.sent else undelivered)
    await caller.record("device.rpc_call", device.name, SUCCESS)
    return Response() if answer is None else JSONResponse(answer)
