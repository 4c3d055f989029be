"""Routes of the audit trail."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from bench.registry import audit
from bench.registry.model import Audit
from bench.registry.pages import PageQuery
from bench.server.http.operator.authorization import SUCCESS, AuthenticatedRoute, Operator
from bench.server.http.operator.params import comma_separated, listed, page_query
from bench.server.http.operator.schemas.accounts import AuditJson
from bench.server.http.operator.schemas.common import Id, PageData

router = APIRouter(route_class=AuthenticatedRoute, tags=["audit"])

_INT64 = (1 << 63) - 1
_ENTITIES = ("device", "profile", "customer", "user")
# Where ThingsBoard has no action of its own, the nearest one.
_WORDS = {"claimed": "ASSIGNED_TO_CUSTOMER", "imported": "UPDATED", "activation_link": "CREDENTIALS_READ"}
_PROVISION = "provision"


@router.get("/audit/logs", summary="Who did what, and how it ended")
async def page(
    caller: Operator,
    wanted: Annotated[PageQuery, page_query(audit.SORTS)],
    from_ms: Annotated[int | None, Query(alias="startTime", ge=0, le=_INT64)] = None,
    to_ms: Annotated[int | None, Query(alias="endTime", ge=0, le=_INT64)] = None,
    actions: Annotated[str, Query(alias="actionTypes", description="ThingsBoard's, separated by commas.")] = "",
) -> PageData[AuditJson]:
    kinds = [kind for action in comma_separated(actions) for kind in _kinds(action)]
    found = await caller.read(
        lambda session: audit.page(session, wanted, kinds=kinds if actions else None, from_ms=from_ms, to_ms=to_ms)
    )
    return listed(found, wanted, lambda row: _row_json(caller.tenant, row))


def _kinds(action: str) -> list[str]:
    """Return the trail's names for an action of ThingsBoard's."""
    ours = [word for word, theirs in _WORDS.items() if theirs == action] + [action.lower()]
    known = [f"{entity}.{word}" for entity in _ENTITIES for word in ours]
    if action == "LOGIN":  # a device's
        known.append("login")
    if action.startswith("PROVISION_"):
        known.append(_PROVISION)
    return known


def _row_json(tenant: Id, row: Audit) -> AuditJson:
    succeeded = row.result == SUCCESS
    entity, _, word = row.what.rpartition(".")
    action = _WORDS.get(word, word.upper())
    if row.what == _PROVISION:
        entity, action = "device", "PROVISION_SUCCESS" if succeeded else "PROVISION_FAILURE"
    return AuditJson(
        id=Id(id=UUID(int=row.id)),
        created_time=row.ts_ms,
        tenant_id=tenant,
        entity_name=row.entity,
        user_name=row.who,
        action_type=action,
        action_status="SUCCESS" if succeeded else "FAILURE",
        action_data={
            "entity": entity or "device",
            "address": row.address,
            "transport": row.transport,
            "request": row.request,
        },
        action_failure_details=None if succeeded else row.result,
    )
