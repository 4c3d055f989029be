"""Routes of calls to devices."""

import json
import re
from typing import Any

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from bench.errors import Refused
from bench.registry.audit import Subject
from bench.registry.clock import now_ms
from bench.server.http.operator.authorization import SUCCESS, AnyUser, Caller, TextRoute
from bench.server.http.operator.bodies import RawBody, strict_json
from bench.server.http.operator.errors import Failed, MalformedCall
from bench.server.http.operator.params import DeviceId
from bench.server.http.operator.schemas.telemetry import RpcForm
from bench.server.presence import AnswerUnreadable, CallUnanswered

router = APIRouter(route_class=TextRoute, tags=["calls"])

MIN_TIMEOUT_MS = 5_000
_TIMEOUT_MS = 10_000
_MAX_TIMEOUT_MS = 86_400_000
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_UNDELIVERED = {"description": "Nobody listens for the device, or it does not answer."}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The device's answer; nothing if there is none."},
    406: {"description": "The device's answer is not JSON."},
}
_CONTENT = {"application/json": {"schema": RpcForm.model_json_schema()}}
_BODY = {"requestBody": {"required": True, "content": _CONTENT}}
_SECOND: dict[str, Any] = {"openapi_extra": _BODY, "responses": {**_ANSWERS, 504: _UNDELIVERED}}
_UNANSWERED = {"description": "The device does not answer."}
_FIRST: dict[str, Any] = {"openapi_extra": _BODY, "responses": {**_ANSWERS, 408: _UNANSWERED, 409: _UNDELIVERED}}


@router.post("/rpc/oneway/{deviceId}", summary="Call, without an answer", **_SECOND)
async def oneway(device_id: DeviceId, body: RawBody, caller: AnyUser) -> Response:
    return await _call(caller, device_id, body, oneway=True, undelivered=504, unanswered=504)


@router.post("/rpc/twoway/{deviceId}", summary="Call, and wait for the answer", **_SECOND)
async def twoway(device_id: DeviceId, body: RawBody, caller: AnyUser) -> Response:
    return await _call(caller, device_id, body, oneway=False, undelivered=504, unanswered=504)


@router.post("/plugins/rpc/oneway/{deviceId}", summary="Call as the first version has it", **_FIRST)
async def oneway_first(device_id: DeviceId, body: RawBody, caller: AnyUser) -> Response:
    return await _call(caller, device_id, body, oneway=True, undelivered=409, unanswered=408)


@router.post("/plugins/rpc/twoway/{deviceId}", summary="Call and wait, as the first version has it", **_FIRST)
async def twoway_first(device_id: DeviceId, body: RawBody, caller: AnyUser) -> Response:
    return await _call(caller, device_id, body, oneway=False, undelivered=409, unanswered=408)


async def _call(
    caller: Caller, device_id: DeviceId, body: bytes, *, oneway: bool, undelivered: int, unanswered: int
) -> Response:
    method, params, timeout_ms = _read(body)
    device = await caller.read(lambda session: caller.device(session, device_id))
    if timeout_ms <= 0:
        await caller.record("device.rpc_call", Subject.of(device), "EXPIRED")
        return Response(status_code=undelivered)
    call = caller.api.presence.call(device_id, method, params, oneway=oneway, timeout_s=timeout_ms / 1000)
    try:
        answer = await call
    except CallUnanswered as error:
        await caller.record("device.rpc_call", Subject.of(device), "TIMEOUT" if error.sent else "NO_ACTIVE_CONNECTION")
        return Response(status_code=unanswered if error.sent else undelivered)
    except AnswerUnreadable:
        await caller.record("device.rpc_call", Subject.of(device), "UNREADABLE_ANSWER")
        return Response(status_code=406)
    await caller.record("device.rpc_call", Subject.of(device), SUCCESS)
    return Response() if answer is None else JSONResponse(answer)


def _read(body: bytes) -> tuple[str, Any, int]:
    """Return a call's method, parameters and the milliseconds that are left for it, read as ThingsBoard reads them."""
    try:
        form = strict_json(body)
    except json.JSONDecodeError:
        raise MalformedCall("Invalid request body") from None
    if not isinstance(form, dict) or "method" not in form:
        raise Failed("a call needs a method")
    if _text(form.get("persistent")) == "true":
        raise Refused("Persistent calls are not kept here!")
    if "expirationTime" in form:
        timeout_ms = _long(form["expirationTime"]) - now_ms()
    else:
        timeout_ms = max(MIN_TIMEOUT_MS, _long(form["timeout"]) if "timeout" in form else _TIMEOUT_MS)
    return _text(form["method"]), form.get("params"), min(timeout_ms, _MAX_TIMEOUT_MS)


def _text(value: Any) -> str:
    """Return a scalar as its text, as Jackson's `asText` does: null is `null`, an object or a list is nothing."""
    if isinstance(value, (dict, list)):
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _long(value: Any) -> int:
    """Return a whole number, as Jackson's `asLong` does: 0 for anything else."""
    text = _text(value)
    return int(float(text)) if _NUMBER.fullmatch(text) else 0
