"""Entities of all kinds by ThingsBoard's names of them."""

import uuid
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.errors import Refused, UnknownId
from bench.registry import relations, timeseries
from bench.registry.model import Customer, Device, Profile, User
from bench.registry.statements import parts

Entity = Device | Profile | Customer | User

TENANT = "TENANT"
"""There is one, which has no row."""
WORDS = {"DEVICE": "device", "DEVICE_PROFILE": "profile", "CUSTOMER": "customer", "USER": "user", TENANT: "tenant"}
"""By which the audit trail calls them."""
_TABLES: dict[str, Any] = {"DEVICE": Device, "DEVICE_PROFILE": Profile, "CUSTOMER": Customer, "USER": User}
# fmt: off
_ELSEWHERE = {
    "ASSET", "ALARM", "DASHBOARD", "RULE_CHAIN", "RULE_NODE", "ENTITY_VIEW", "WIDGETS_BUNDLE", "WIDGET_TYPE",
    "TENANT_PROFILE", "ASSET_PROFILE", "API_USAGE_STATE", "TB_RESOURCE", "OTA_PACKAGE", "EDGE", "RPC", "QUEUE",
    "NOTIFICATION_TARGET", "NOTIFICATION_TEMPLATE", "NOTIFICATION_REQUEST", "NOTIFICATION", "NOTIFICATION_RULE",
    "QUEUE_STATS", "OAUTH2_CLIENT", "DOMAIN", "MOBILE_APP", "MOBILE_APP_BUNDLE", "CALCULATED_FIELD",
    "CALCULATED_FIELD_LINK", "JOB", "ADMIN_SETTINGS", "AI_MODEL", "API_KEY",
}
# fmt: on


def check_kind(kind: str) -> None:
    """Raise Refused for a kind that ThingsBoard does not have."""
    if kind not in WORDS and kind not in _ELSEWHERE:
        raise Refused(f"No enum constant org.thingsboard.server.common.data.EntityType.{kind}")


def get(session: Session, kind: str, entity_id: uuid.UUID, *, keep: bool = False) -> Entity:
    """Return an entity.

    Args:
        session: The transaction.
        kind: Its kind, but not the tenant.
        entity_id: Its id.
        keep: Nobody deletes it until the transaction ends.

    Raises:
        NotFound: It is not there, or of a kind of which there is none here.
        Refused: There is no such kind.
    """
    check_kind(kind)
    table = _TABLES.get(kind)
    lock = {"read": True, "key_share": True} if keep else None
    found = session.get(table, entity_id, with_for_update=lock) if table else None
    if not isinstance(found, Entity):
        raise UnknownId(kind.replace("_", " ").capitalize(), entity_id)
    return found


def all_of(session: Session, nodes: Iterable[tuple[str, uuid.UUID]]) -> dict[tuple[str, uuid.UUID], Entity]:
    """Return entities by kind and id, those that are there; of the tenant there is none."""
    by_kind: dict[str, set[uuid.UUID]] = {}
    for kind, entity_id in nodes:
        by_kind.setdefault(kind, set()).add(entity_id)
    return {
        (kind, each.id): each
        for kind, ids in by_kind.items()
        if (table := _TABLES.get(kind))
        for part in parts(sorted(ids))
        for each in session.scalars(select(table).where(table.id.in_(part)))
    }


def forget(session: Session, ids: Collection[uuid.UUID]) -> None:
    """Delete the relations and values of entities that are gone; not of devices, whose values go with them."""
    relations.remove_all(session, ids)
    timeseries.delete_all(session, ids)
