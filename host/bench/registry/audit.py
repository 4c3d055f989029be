"""The audit trail: who did what, when, from where, and with which result."""

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.orm import Session

from bench.registry import hook_events, pages
from bench.registry.clock import now_ms
from bench.registry.model import ApiKey, Audit, Customer, Device, Package, Profile, Rollout, User
from bench.registry.pages import PageQuery
from bench.registry.statements import Insertion

DEVICE, SERVER = "device", "server"
_LONGEST = 255
_COLUMNS = ("ts_ms", "who", "what", "entity", "address", "transport", "result", "request", "api_key")
_ADD = Insertion(Audit, *_COLUMNS, "entity_id", "user_id", "customer_id")
_DATAGRAMS = {"coap"}
LOGIN, SUCCESS = "user.login", "SUCCESS"
# Rows: so many are looked through in some 50 ms.
_RECENT = 100_000
SORTS = {
    "createdTime": Audit.ts_ms,
    "entityName": Audit.entity,
    "userName": Audit.who,
    "actionType": Audit.what,
    "actionStatus": Audit.result,
}


@dataclass(frozen=True)
class Origin:
    """The origin of a request: its address, its transport, its id in the journal, and when it came."""

    address: str = ""
    transport: str = ""
    request: str = ""
    keeps_refusal: bool = True
    """False: a refusal of this request gets no row of the trail; there are too many."""

    received_ms: int = field(default_factory=now_ms, compare=False)
    api_key: str = ""
    """The name of the API key in it."""

    @property
    def is_proven(self) -> bool:
        """True if the sender has this address: a datagram's sender can have made it up."""
        return self.transport not in _DATAGRAMS


UNKNOWN_ORIGIN = Origin()


@dataclass(frozen=True)
class Subject:
    """The object of an action. Its name is never a secret."""

    name: str = ""
    id: uuid.UUID | None = None
    customer_id: uuid.UUID | None = None

    @classmethod
    def of(cls, entity: "Device | Profile | Customer | User | ApiKey | Package | Rollout | Subject") -> "Subject":
        """Return a row of the registry as the subject of an action."""
        match entity:
            case Subject():
                return entity
            case Customer():
                return cls(entity.title, entity.id, entity.id)
            case User():
                return cls(entity.email, entity.id, entity.customer_id)
            case Device():
                return cls(entity.name, entity.id, entity.customer_id)
            case Profile(name=name) | ApiKey(description=name):
                return cls(name, entity.id)
            case Package() | Rollout():
                return cls(f"{entity.title} {entity.package_version}", entity.id)


def entry(origin: Origin, *, who: User | str = DEVICE, what: str, entity: Subject | str, result: str) -> dict[str, Any]:
    """Return a row of the audit trail.

    Args:
        origin: Where the request came from.
        who: The user, the e-mail address of one that is not known, or `device`.
        what: The action.
        entity: What it was done to, or only its name.
        result: How it ended.
    """
    user, name = (None, who) if isinstance(who, str) else (who, who.email)
    subject = Subject(entity) if isinstance(entity, str) else entity
    return {
        "ts_ms": now_ms(),
        "who": name[:_LONGEST],  # the name in a login can be any text
        "what": what,
        # No device's name is longer, and PostgreSQL's texts have no NUL.
        "entity": subject.name[:_LONGEST].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "address": origin.address,
        "transport": origin.transport,
        "result": result,
        "request": origin.request,
        "api_key": origin.api_key,
        "entity_id": subject.id,
        "user_id": user.id if user else None,
        "customer_id": subject.customer_id or (user.customer_id if user else None),
    }


def own_entry(what: str, entity: Subject | str) -> dict[str, Any]:
    """Return the row of something that was done on the data folder itself, by whoever may: there is no account."""
    who = f"uid {os.geteuid()} on this machine"
    return entry(Origin(transport="cli"), who=who, what=what, entity=entity, result=SUCCESS)


def record(connection: Connection, entries: Sequence[dict[str, Any]]) -> list[None]:
    """Store rows, and what hooks get of them (a batch function)."""
    _ADD(connection, entries)
    hook_events.put(connection, entries)
    return [None] * len(entries)


def page(session: Session, wanted: PageQuery, where: Sequence[ColumnElement[bool]] = ()) -> tuple[list[Audit], int]:
    """Return a page of the rows that meet all conditions, and the number of them in all."""
    statement = select(Audit).where(*where)
    searched = (Audit.entity, Audit.who, Audit.what, Audit.result)
    rows, total = pages.page(session, statement, wanted, sorts=SORTS, searched=searched, key=Audit.id)
    return [row for (row,) in rows], total


def find(session: Session, *, limit: int, what: str = "", entity: str = "", since_ms: int = 0) -> Sequence[Audit]:
    """Return the newest `limit` rows, newest first; only of one action, about one entity, since a time, if given."""
    statement = select(Audit).where(Audit.ts_ms >= since_ms).order_by(Audit.id.desc()).limit(limit)
    if what:
        statement = statement.where(Audit.what == what)
    if entity:
        statement = statement.where(Audit.entity == entity)
    return session.scalars(statement).all()


def logins(session: Session) -> set[tuple[str, str]]:
    """Return the addresses and names of users who logged in lately: those in the newest rows."""
    newest = session.scalar(select(func.max(Audit.id))) or 0
    statement = select(Audit.address, Audit.who).where(
        Audit.id > newest - _RECENT, Audit.what == LOGIN, Audit.result == SUCCESS
    )
    return {(address, who) for address, who in session.execute(statement)}
