"""Routes of calls to devices."""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from fastapi import Response
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse

from bench.registry import calls
from bench.registry.audit import Subject
from bench.registry.calls import NewCall
from bench.registry.clock import now_ms
from bench.registry.logins import as_boolean
from bench.registry.model import Device, PersistentCall
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import SUCCESS, AnyUser, Caller, TextRoute
from bench.server.http.operator.bodies import RawBody, strict_json
from bench.server.http.operator.errors import Failed, MalformedCall
from bench.server.http.operator.params import DeviceId
from bench.server.http.operator.schemas.telemetry import RpcForm, RpcIdJson
from bench.server.json_writer import compact
from bench.server.presence import AnswerUnreadable, CallUnanswered

router = ApiRouter(TextRoute, "calls")

MIN_TIMEOUT_MS = 5_000
_TIMEOUT_MS = 10_000
_MAX_TIMEOUT_MS = 86_400_000
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_FRACTION = re.compile(r"-?[0-9]{1,18}\.[0-9]{1,18}")
_LONG, _INT = 1 << 63, 1 << 31
_UNDELIVERED = {"description": "Nobody listens for the device, or it does not answer."}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The device's answer; nothing if there is none. Of a persistent call its `rpcId`."},
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


@dataclass(frozen=True, kw_only=True)
class _Form:
    """A call as ThingsBoard reads it."""

    method: str
    params: Any
    expires_ms: int
    persistent: bool
    id: uuid.UUID
    retries: int | None
    additional_info: Any


async def _call(
    caller: Caller, device_id: DeviceId, body: bytes, *, oneway: bool, undelivered: int, unanswered: int
) -> Response:
    form = _read(body)
    if form.persistent:
        return await _keep(caller, device_id, form, oneway=oneway, over=unanswered)
    timeout_ms = min(form.expires_ms - now_ms(), _MAX_TIMEOUT_MS)
    device = await caller.read(lambda session: caller.device(session, device_id))
    if timeout_ms <= 0:
        await caller.record("device.rpc_call", Subject.of(device), "EXPIRED")
        return Response(status_code=undelivered)
    call = caller.api.presence.call(device_id, form.method, form.params, oneway=oneway, timeout_s=timeout_ms / 1000)
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


async def _keep(caller: Caller, device_id: DeviceId, form: _Form, *, oneway: bool, over: int) -> Response:
    """Keep a call until the device is there, and answer with its id."""
    new = NewCall(
        id=form.id,
        expires_ms=form.expires_ms,
        oneway=oneway,
        method=form.method,
        params=compact(form.params),
        retries=form.retries,
        additional_info=None if form.additional_info is None else compact(form.additional_info),
    )

    def change(session: Session) -> tuple[Device, PersistentCall]:
        return (device := caller.device(session, device_id)), calls.create(session, device.id, new, now_ms())

    call = await caller.api.calls.create(
        device_id,
        lambda: caller.change(
            "device.rpc_call", device_id, change, result_of=lambda made: SUCCESS if made.is_open else made.status
        ),
    )
    if not call.is_open:
        return Response(status_code=over)
    return JSONResponse(RpcIdJson(rpc_id=call.id).model_dump(mode="json"))


def _read(body: bytes) -> _Form:
    """Read a call. Raises MalformedCall, or Failed where ThingsBoard does."""
    try:
        form = strict_json(body)
    except json.JSONDecodeError:
        raise MalformedCall("Invalid request body") from None
    if not isinstance(form, dict) or "method" not in form:
        raise Failed("a call needs a method")
    if "expirationTime" in form:
        expires_ms = _long(form["expirationTime"])
    else:
        timeout_ms = max(MIN_TIMEOUT_MS, _long(form["timeout"]) if "timeout" in form else _TIMEOUT_MS)
        expires_ms = min(now_ms() + timeout_ms, _LONG - 1)
    return _Form(
        method=_text(form["method"]),
        params=form.get("params"),
        expires_ms=expires_ms,
        persistent=as_boolean(form.get("persistent")),
        id=_id(form),
        retries=_int(form["retries"]) if "retries" in form else None,
        additional_info=form.get("additionalInfo"),
    )


def _id(form: dict[str, Any]) -> uuid.UUID:
    if "requestUUID" not in form:
        return uuid.uuid4()
    try:
        return uuid.UUID(_text(form["requestUUID"]))
    except ValueError:
        raise MalformedCall("Invalid request body") from None


def _text(value: Any) -> str:
    """Return a scalar as its text, as Jackson's `asText` does: null is `null`, an object or a list is nothing."""
    if isinstance(value, (dict, list)):
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _long(value: Any) -> int:
    """Return a whole number of 64 bits, as Jackson's `asLong` does: 0 for anything else."""
    text = _text(value)
    number = int(float(text)) if _FRACTION.fullmatch(text) else int(text) if _NUMBER.fullmatch(text) else 0
    return number if -_LONG <= number < _LONG else 0


def _int(value: Any) -> int:
    """Return a whole number of 32 bits, as Jackson's `asInt` does: 0 for anything else."""
    number = _long(value)
    return number if -_INT <= number < _INT else 0
