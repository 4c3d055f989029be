"""The audit trail: who did what, when, from where, and with which result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from bench.registry import pages
from bench.registry.clock import now_ms
from bench.registry.model import Audit
from bench.registry.pages import PageQuery
from bench.registry.statements import Insertion

DEVICE, SERVER = "device", "server"
_LONGEST = 255
_ADD = Insertion(Audit, "ts_ms", "who", "what", "entity", "address", "transport", "result", "request")
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
    """The origin of a request: its address, its transport, and its id in the journal."""

    address: str = ""
    transport: str = ""
    request: str = ""
    keeps_refusal: bool = True
    """False: a refusal of this request gets no row of the trail; there are too many."""

    @property
    def is_proven(self) -> bool:
        """True if the sender has this address: a datagram's sender can have made it up."""
        return self.transport not in _DATAGRAMS


UNKNOWN_ORIGIN = Origin()


def entry(origin: Origin, *, who: str = DEVICE, what: str, entity: str, result: str) -> dict[str, Any]:
    """Return a row of the audit trail.

    Args:
        origin: Where the request came from.
        who: A user's e-mail address, or `device`.
        what: The action.
        entity: The name of what it was done to; never a secret.
        result: How it ended.
    """
    return {
        "ts_ms": now_ms(),
        "who": who[:_LONGEST],  # the name in a login can be any text
        "what": what,
        # No device's name is longer, and PostgreSQL's texts have no NUL.
        "entity": entity[:_LONGEST].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "address": origin.address,
        "transport": origin.transport,
        "result": result,
        "request": origin.request,
    }


def record(connection: Connection, entries: Sequence[dict[str, Any]]) -> list[None]:
    """Store rows (a batch function)."""
    _ADD(connection, entries)
    return [None] * len(entries)


def page(
    session: Session,
    wanted: PageQuery,
    *,
    kinds: Sequence[str] | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> tuple[list[Audit], int]:
    """Return a page of the trail, and the number of rows in all.

    Args:
        session: The transaction.
        wanted: The page.
        kinds: Only these actions; None is all.
        from_ms: Only rows since then, in milliseconds since the epoch.
        to_ms: Only rows until then.
    """
    statement = select(Audit)
    if kinds is not None:
        statement = statement.where(Audit.what.in_(kinds))
    if from_ms is not None:
        statement = statement.where(Audit.ts_ms >= from_ms)
    if to_ms is not None:
        statement = statement.where(Audit.ts_ms <= to_ms)
    searched = (Audit.entity, Audit.who, Audit.what, Audit.result)
    rows, total = pages.page(session, statement, wanted, sorts=SORTS, searched=searched, key=Audit.id.desc())
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
