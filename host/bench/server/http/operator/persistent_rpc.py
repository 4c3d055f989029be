"""Routes of persistent calls: what became of them."""

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import Path, Query, Response
from sqlalchemy.orm import Session

from bench.registry import calls
from bench.registry.calls import CallStatus
from bench.registry.model import Device, PersistentCall
from bench.registry.pages import PageQuery
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Caller, Operator, TextRoute
from bench.server.http.operator.errors import Malformed
from bench.server.http.operator.params import DeviceId, Uuid, listed, page_query
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.schemas.telemetry import RpcJson
from bench.server.http.operator.serializers import rpc_json

router = ApiRouter(AuthenticatedRoute, "calls")
list_router = ApiRouter(TextRoute, "calls")

RpcId = Annotated[Uuid, Path(alias="rpcId")]
_ABSENT: dict[int | str, dict[str, Any]] = {404: {"description": "There is none with this id."}}


@router.get("/rpc/persistent/{rpcId}", summary="A persistent call", responses=_ABSENT)
async def persistent(call_id: RpcId, caller: AnyUser) -> RpcJson:
    return rpc_json(caller.tenant, await caller.read(_find, caller, call_id))


@list_router.get("/rpc/persistent/device/{deviceId}", summary="A device's persistent calls", responses=_ABSENT)
async def of_device(
    device_id: DeviceId,
    caller: AnyUser,
    wanted: Annotated[PageQuery, page_query(calls.SORTS)],
    status: Annotated[
        CallStatus | None, Query(alias="rpcStatus", description="Only these. No call is DELETED.")
    ] = None,
) -> PageData[RpcJson]:
    if status is CallStatus.DELETED:
        raise Malformed("RpcStatus: DELETED")

    def page(session: Session) -> tuple[Sequence[PersistentCall], int]:
        caller.device(session, device_id)
        return calls.page(session, device_id, status, wanted)

    return listed(await caller.read(page), wanted, partial(rpc_json, caller.tenant))


@router.delete(
    "/rpc/persistent/{rpcId}", summary="Delete a persistent call", response_class=Response, responses=_ABSENT
)
async def delete(call_id: RpcId, caller: Operator) -> None:
    def change(session: Session) -> tuple[Device, uuid.UUID]:
        call = _find(session, caller, call_id)
        device = caller.device(session, call.device_id)
        calls.delete(session, call)
        return device, device.id

    caller.api.calls.forget_call(await caller.change("device.rpc_deleted", str(call_id), change), call_id)


def _find(session: Session, caller: Caller, call_id: uuid.UUID) -> PersistentCall:
    """Return a call of a device that this user may see."""
    call = calls.get(session, call_id)
    caller.device(session, call.device_id)
    return call
