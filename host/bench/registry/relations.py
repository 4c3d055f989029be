"""Relations between entities. Functions run in a transaction: `registry.write(relations.save, ...)`."""

import json
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused
from bench.registry.model import Relation
from bench.registry.statements import parts

COMMON = "COMMON"
CONTAINS = "Contains"
RELATIONS = 10_000
"""Relations from one entity, and as many to it; a search goes through no more either."""
INFO = 4096
"""Characters of a relation's additional information, as JSON."""
_TYPE_LIMIT = 255

Node = tuple[str, uuid.UUID]
"""The kind and the id of an entity."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """All that two relations differ by."""

    from_: Node
    to: Node
    type: str
    group: str = COMMON

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the row."""
        (from_type, from_id), (to_type, to_id) = self.from_, self.to
        ends = {"from_type": from_type, "from_id": from_id, "to_type": to_type, "to_id": to_id}
        return {**ends, "type": self.type, "type_group": self.group}


def save(session: Session, key: Key, info: Any) -> Relation:
    """Store a relation, or its new additional information. Raises Refused if it is invalid, or one too many."""
    if not key.type:
        raise Refused("Relation type should be specified!")
    if len(key.type) > _TYPE_LIMIT:
        raise Refused(f"Validation error: type length must be equal or less than {_TYPE_LIMIT}")
    if info is not None and len(json.dumps(info)) > INFO:
        raise Refused(f"The additional information of a relation has at most {INFO} characters of JSON!")
    relation = _find(session, key)
    if relation is None:
        for end in (Relation.from_id == key.from_[1], Relation.to_id == key.to[1]):
            if (session.scalar(select(func.count()).select_from(Relation).where(end)) or 0) >= RELATIONS:
                raise Refused(f"An entity has at most {RELATIONS} relations in each direction!")
        relation = Relation(**key.columns)
        session.add(relation)
    relation.additional_info = info
    session.flush()
    return relation


def get(session: Session, key: Key) -> Relation:
    """Return a relation. Raises NotFound."""
    found = _find(session, key)
    if found is None:
        raise NotFound("there is no such relation")
    return found


def _find(session: Session, key: Key) -> Relation | None:
    return session.get(Relation, key.columns)


def of(
    session: Session, nodes: Collection[Node], *, outward: bool, group: str = COMMON, kind: str | None = None
) -> Sequence[Relation]:
    """Return the relations from some entities, or to them; only those of a type, if it is given."""
    end = Relation.from_id if outward else Relation.to_id
    statement = select(Relation).where(end.in_([each for _, each in nodes]), Relation.type_group == group)
    if kind is not None:
        statement = statement.where(Relation.type == kind)
    order = (Relation.from_id, Relation.type, Relation.to_id)
    return session.scalars(statement.order_by(*order).limit(RELATIONS)).all()


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search along relations."""

    root: Node
    outward: bool
    """From the root on; otherwise to it."""
    group: str = COMMON
    levels: int = 1
    """How far it goes; less than one is without a limit."""
    last_only: bool = False
    """Only the relations of the last level are wanted."""


def search(session: Session, wanted: Search) -> list[Relation]:
    """Return the relations that a search goes through, each once. Raises Refused if there are too many."""
    found: list[Relation] = []
    seen, frontier, level, count = {wanted.root}, [wanted.root], 0, 0
    while frontier and (wanted.levels < 1 or level < wanted.levels):
        level += 1
        relations: list[Relation] = []
        for part in parts(frontier):
            relations += of(session, part, outward=wanted.outward, group=wanted.group)
            if count + len(relations) >= RELATIONS:
                raise Refused(f"The search goes through more than {RELATIONS} relations: search fewer levels!")
        if wanted.last_only and relations:
            found.clear()
        found, count = found + relations, count + len(relations)
        reached = {other_end(each, outward=wanted.outward) for each in relations}
        frontier = sorted(reached - seen)
        seen |= reached
    return [] if wanted.last_only and level < wanted.levels else found


def other_end(relation: Relation, *, outward: bool) -> Node:
    """Return the entity that a relation leads to, or comes from."""
    return (relation.to_type, relation.to_id) if outward else (relation.from_type, relation.from_id)


def remove(session: Session, key: Key) -> Relation:
    """Delete a relation, and return what it was. Raises NotFound."""
    found = get(session, key)
    session.delete(found)
    session.flush()
    return found


def remove_all(session: Session, ids: Iterable[uuid.UUID], group: str | None = None) -> None:
    """Delete the relations from and to some entities; only those of a group, if it is given.

    Of an entity that is deleted: afterwards, when nobody can relate anything to it any more.
    """
    session.flush()
    for part in parts(list(ids)):
        statement = delete(Relation).where(or_(Relation.from_id.in_(part), Relation.to_id.in_(part)))
        session.execute(statement if group is None else statement.where(Relation.type_group == group))
