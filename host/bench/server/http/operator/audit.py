"""Routes of the audit trail."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query
from sqlalchemy import ColumnElement, and_, or_

from bench.errors import Refused
from bench.registry import audit, entities
from bench.registry.model import Audit
from bench.registry.pages import PageQuery
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import SUCCESS, AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import CustomerId, UserId, Uuid, comma_separated, listed, page_query
from bench.server.http.operator.schemas.accounts import AuditJson
from bench.server.http.operator.schemas.common import NOBODY, BareId, Id, PageData
from bench.server.http.operator.serializers import customer_id

router = ApiRouter(AuthenticatedRoute, "audit")

_INT64 = (1 << 63) - 1
_KINDS = {**{word: kind for kind, word in entities.WORDS.items()}, "api_key": "API_KEY", "package": "OTA_PACKAGE"}
# Where ThingsBoard has no action of its own, the nearest one.
_WORDS = {
    "claimed": "ASSIGNED_TO_CUSTOMER",
    "claim": "UPDATED",
    "imported": "UPDATED",
    "uploaded": "UPDATED",
    **dict.fromkeys(("started", "paused", "resumed", "stopped", "finished"), "UPDATED"),
    "rpc_deleted": "RPC_CALL",
    "activation_link": "CREDENTIALS_READ",
    "token": "LOGIN",
    "forbidden": "LOCKOUT",
    "refusals_skipped": "LOCKOUT",
}
# fmt: off
_ACTIONS = {
    "ADDED", "DELETED", "UPDATED", "ATTRIBUTES_UPDATED", "ATTRIBUTES_DELETED", "TIMESERIES_UPDATED",
    "TIMESERIES_DELETED", "RPC_CALL", "CREDENTIALS_UPDATED", "ASSIGNED_TO_CUSTOMER", "UNASSIGNED_FROM_CUSTOMER",
    "ACTIVATED", "SUSPENDED", "CREDENTIALS_READ", "ATTRIBUTES_READ", "RELATION_ADD_OR_UPDATE", "RELATION_DELETED",
    "RELATIONS_DELETED", "REST_API_RULE_ENGINE_CALL", "ALARM_ACK", "ALARM_CLEAR", "ALARM_DELETE", "ALARM_ASSIGNED",
    "ALARM_UNASSIGNED", "LOGIN", "LOGOUT", "LOCKOUT", "ASSIGNED_FROM_TENANT", "ASSIGNED_TO_TENANT",
    "PROVISION_SUCCESS", "PROVISION_FAILURE", "ASSIGNED_TO_EDGE", "UNASSIGNED_FROM_EDGE", "ADDED_COMMENT",
    "UPDATED_COMMENT", "DELETED_COMMENT", "SMS_SENT",
}
# fmt: on
_PROVISION = "provision"


async def _conditions(
    from_ms: Annotated[int | None, Query(alias="startTime", ge=0, le=_INT64)] = None,
    to_ms: Annotated[int | None, Query(alias="endTime", ge=0, le=_INT64)] = None,
    actions: Annotated[str, Query(alias="actionTypes", description="ThingsBoard's, separated by commas.")] = "",
) -> list[ColumnElement[bool]]:
    where = []
    if from_ms is not None:
        where.append(Audit.ts_ms >= from_ms)
    if to_ms is not None:
        where.append(Audit.ts_ms <= to_ms)
    if actions:
        where.append(or_(*(_is_action(action) for action in comma_separated(actions))))
    return where


def _is_action(action: str) -> ColumnElement[bool]:
    """Return the condition that a row is of an action of ThingsBoard's."""
    if action not in _ACTIONS:
        raise Refused(f"No enum constant org.thingsboard.server.common.data.audit.ActionType.{action}")
    if action.startswith("PROVISION_"):
        succeeded = Audit.result == SUCCESS
        return and_(Audit.what == _PROVISION, succeeded if action == "PROVISION_SUCCESS" else ~succeeded)
    ours = [word for word, theirs in _WORDS.items() if theirs == action] + [action.lower()]
    return Audit.what.in_([*ours, *(f"{kind}.{word}" for kind in _KINDS for word in ours)])


_Wanted = Annotated[PageQuery, page_query(audit.SORTS)]
_Conditions = Annotated[list[ColumnElement[bool]], Depends(_conditions)]


@router.get("/audit/logs", summary="Who did what, and how it ended")
async def page(caller: Operator, wanted: _Wanted, where: _Conditions) -> PageData[AuditJson]:
    return await _page(caller, wanted, where)


@router.get("/audit/logs/customer/{customerId}", summary="What was done to what a customer has, or by their users")
async def of_customer(
    customer_id: CustomerId, caller: Operator, wanted: _Wanted, where: _Conditions
) -> PageData[AuditJson]:
    return await _page(caller, wanted, [*where, Audit.customer_id == customer_id])


@router.get("/audit/logs/user/{userId}", summary="What a user did")
async def of_user(user_id: UserId, caller: Operator, wanted: _Wanted, where: _Conditions) -> PageData[AuditJson]:
    return await _page(caller, wanted, [*where, Audit.user_id == user_id])


@router.get("/audit/logs/entity/{entityType}/{entityId}", summary="What was done to an entity")
async def of_entity(
    kind: Annotated[str, Path(alias="entityType")],
    entity_id: Annotated[Uuid, Path(alias="entityId")],
    caller: Operator,
    wanted: _Wanted,
    where: _Conditions,
) -> PageData[AuditJson]:
    return await _page(caller, wanted, [*where, Audit.entity_id == entity_id])


async def _page(caller: Caller, wanted: PageQuery, where: list[ColumnElement[bool]]) -> PageData[AuditJson]:
    found = await caller.read(audit.page, wanted, where)
    return listed(found, wanted, lambda row: _row_json(caller.tenant, row))


def _row_json(tenant: Id, row: Audit) -> AuditJson:
    succeeded = row.result == SUCCESS
    entity, _, word = row.what.rpartition(".")
    action = _WORDS.get(word, word.upper())
    if row.what == _PROVISION:
        entity, action = "device", "PROVISION_SUCCESS" if succeeded else "PROVISION_FAILURE"
    kind = _KINDS.get(entity, "DEVICE")
    subject = Id(entity_type=kind, id=row.entity_id) if row.entity_id else tenant
    return AuditJson(
        id=BareId(id=UUID(int=row.id)),
        created_time=row.ts_ms,
        tenant_id=tenant,
        customer_id=customer_id(row.customer_id),
        entity_id=subject,
        entity_name=row.entity,
        user_id=Id(entity_type="USER", id=row.user_id or NOBODY),
        user_name=row.who,
        action_type=action,
        action_status="SUCCESS" if succeeded else "FAILURE",
        action_data={
            "entity": entity or "device",
            "address": row.address,
            **({"clientAddress": row.address} if action == "LOGIN" else {}),
            "transport": row.transport,
            "request": row.request,
            **({"apiKey": row.api_key} if row.api_key else {}),
        },
        action_failure_details=None if succeeded else row.result,
    )
