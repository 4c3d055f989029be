"""Parameters that the routes of attributes and of telemetry share."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Path, Query, Response
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import names
from bench.registry.audit import Subject
from bench.registry.entities import WORDS, Entity
from bench.registry.timeseries import DEVICES, OTHERS, Tables
from bench.server.http.operator.authorization import Caller
from bench.server.http.operator.errors import Forbidden
from bench.server.http.operator.params import Uuid, comma_separated
from bench.server.http.operator.schemas.common import Id

PREFIX = "/plugins/telemetry"
INT64 = (1 << 63) - 1

# Of what ThingsBoard keeps these for, this is all there is here.
_Kind = Annotated[Literal["DEVICE", "DEVICE_PROFILE", "CUSTOMER", "USER", "TENANT"], Path(alias="entityType")]
_EntityId = Annotated[Uuid, Path(alias="entityId")]
_DEVICE = "DEVICE"


async def _entity(kind: _Kind, entity_id: _EntityId) -> Id:
    return Id(entity_type=kind, id=entity_id)


Of = Annotated[Id, Depends(_entity)]
"""The entity whose values are wanted."""
Keys = Annotated[list[str] | None, Query(alias="keys", description="Names, separated by commas.")]
Key = Annotated[list[str] | None, Query(alias="key", description="A name, as it is; as often as wanted.")]


def device(device_id: UUID) -> Id:
    """Return the kind and id of a device."""
    return Id(entity_type=_DEVICE, id=device_id)


def owner(caller: Caller, session: Session, of: Id, *, writes: bool = False) -> tuple[Entity | Subject, Tables]:
    """Return an entity whose values this user may read, or change, and where they are. Raises NotFound or Forbidden."""
    if caller.customer_id is not None and of.entity_type == "DEVICE_PROFILE":
        raise Forbidden
    if of.entity_type == _DEVICE:
        return caller.device(session, of.id), DEVICES
    return caller.entity(session, of, writes=writes), OTHERS


def action(of: Id, what: str) -> str:
    """Return the name of an action on an entity's values in the audit trail."""
    return f"{WORDS[of.entity_type]}.{what}"


def described(example: Any) -> dict[str, Any]:
    """Return a route's description of a body that is read by the devices' reader, which takes more than JSON."""
    content = {"application/json": {"schema": {}, "example": example}}
    return {"response_class": Response, "openapi_extra": {"requestBody": {"required": True, "content": content}}}


def keys_of(keys: list[str] | None, each: list[str] | None) -> Sequence[str] | None:
    """Return the names that are requested; None is all."""
    return [*comma_separated(*(keys or ())), *(each or ())] or None


def check_keys(keys: Iterable[str]) -> None:
    """Raise Refused for a name that no attribute or series may have."""
    for key in keys:
        if not key.strip():
            raise Refused("Key cannot be empty or contains only spaces")
        names.check(key=key)
        if "\0" in key:
            raise Refused("Validation error: key is malformed")
