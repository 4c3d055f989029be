"""Routes of relations between entities, and of devices that are found along them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Query, Response
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused
from bench.registry import devices, entities, relations
from bench.registry.audit import Subject
from bench.registry.devices import DevicePageQuery
from bench.registry.entities import WORDS, Entity
from bench.registry.model import Relation
from bench.registry.relations import COMMON, CONTAINS, Key, Node, Search
from bench.registry.statements import parts
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Caller
from bench.server.http.operator.errors import Forbidden
from bench.server.http.operator.params import NEWER_ROUTE, Uuid
from bench.server.http.operator.schemas.common import Id
from bench.server.http.operator.schemas.devices import DeviceJson
from bench.server.http.operator.schemas.relations import (
    DeviceQuery,
    Group,
    RelationFilter,
    RelationForm,
    RelationInfo,
    RelationJson,
    RelationsQuery,
)
from bench.server.http.operator.serializers import device_json

router = ApiRouter(AuthenticatedRoute, "relations")

_GROUPS = set(Group.__args__)  # type: ignore[attr-defined] # of a Literal
_SAVED, _DELETED, _ALL_DELETED = "relation_add_or_update", "relation_deleted", "relations_deleted"
_NO_NAME = "N/A"

_Group = Annotated[str, Query(alias="relationTypeGroup", description="COMMON, if it is left out or unknown.")]
_Kind = Annotated[str | None, Query(alias="relationType")]


def _node(of: Id) -> Node:
    return of.entity_type, of.id


def _id(node: Node) -> Id:
    return Id(entity_type=node[0], id=node[1])


def _group(name: str) -> str:
    return name if name in _GROUPS else COMMON


def _json(relation: Relation) -> RelationJson:
    return RelationJson.model_validate(_fields(relation))


def _fields(relation: Relation) -> dict[str, Any]:
    return {
        "from": _id((relation.from_type, relation.from_id)),
        "to": _id((relation.to_type, relation.to_id)),
        "type": relation.type,
        "typeGroup": relation.type_group,
        "additionalInfo": relation.additional_info,
        "version": relation.version,
    }


# One relation.


@router.post("/relation", summary="Store a relation between two entities", response_class=Response)
async def save(form: RelationForm, caller: AnyUser) -> None:
    await save_and_return(form, caller)


@router.post("/v2/relation", summary="Store a relation between two entities, and return it")
async def save_and_return(form: RelationForm, caller: AnyUser) -> RelationJson:
    if form.from_ is None:
        raise Refused("Relation should contain from entity!")
    if form.to is None:
        raise Refused("Relation should contain to entity!")
    key = Key(from_=_node(form.from_), to=_node(form.to), type=form.type or "", group=form.type_group or COMMON)
    return await _change(caller, key, _SAVED, lambda session: relations.save(session, key, form.additional_info))


async def _key(
    from_id: Annotated[Uuid, Query(alias="fromId")],
    from_type: Annotated[str, Query(alias="fromType")],
    to_id: Annotated[Uuid, Query(alias="toId")],
    to_type: Annotated[str, Query(alias="toType")],
    kind: Annotated[str, Query(alias="relationType")],
    group: _Group = COMMON,
) -> Key:
    return Key(from_=(from_type, from_id), to=(to_type, to_id), type=kind, group=_group(group))


_OneKey = Annotated[Key, Depends(_key)]


@router.get("/relation", summary="A relation")
async def get(key: _OneKey, caller: AnyUser) -> RelationJson:
    def read(session: Session) -> RelationJson:
        for end in (key.from_, key.to):
            caller.entity(session, _id(end))
        return _json(relations.get(session, key))

    return await caller.read(read)


@router.delete("/relation", summary="Delete a relation", response_class=Response)
async def delete(key: _OneKey, caller: AnyUser) -> None:
    await delete_and_return(key, caller)


@router.delete("/v2/relation", summary="Delete a relation, and return what it was")
async def delete_and_return(key: _OneKey, caller: AnyUser) -> RelationJson:
    return await _change(caller, key, _DELETED, lambda session: relations.remove(session, key))


async def _change(caller: Caller, key: Key, what: str, change: Callable[[Session], Relation]) -> RelationJson:
    """Change a relation. It is in the audit trail of both its ends."""

    def changed(session: Session) -> tuple[Entity | Subject, RelationJson]:
        ends = [caller.entity(session, _id(end), writes=True) for end in sorted({key.from_, key.to})]
        relation = change(session)
        own = ends[0 if key.from_ <= key.to else 1]
        for other in ends:
            if other is not own:
                caller.record_within(session, f"{WORDS[key.to[0]]}.{what}", Subject.of(other))
        return own, _json(relation)

    return await caller.change(f"{WORDS.get(key.from_[0], 'device')}.{what}", key.from_[1], changed)


@router.delete("/relations", summary="Delete all common relations of an entity", response_class=Response)
async def delete_all(
    entity_id: Annotated[Uuid, Query(alias="entityId")],
    kind: Annotated[str, Query(alias="entityType")],
    caller: AnyUser,
) -> None:
    def change(session: Session) -> tuple[Entity | Subject, None]:
        entity = caller.entity(session, _id((kind, entity_id)), writes=True)
        relations.remove_all(session, [entity_id], COMMON)
        return entity, None

    await caller.change(f"{WORDS.get(kind, 'device')}.{_ALL_DELETED}", entity_id, change)


# Those of an entity.


class _End:
    """The entity whose relations are wanted, and whether they are from it."""

    def __init__(self, node: Node, *, outward: bool) -> None:
        self.node = node
        self.outward = outward


async def _end(
    from_id: Annotated[Uuid | None, Query(alias="fromId")] = None,
    from_type: Annotated[str | None, Query(alias="fromType")] = None,
    to_id: Annotated[Uuid | None, Query(alias="toId")] = None,
    to_type: Annotated[str | None, Query(alias="toType")] = None,
) -> _End:
    if from_id is not None and from_type is not None:
        return _End((from_type, from_id), outward=True)
    if to_id is not None and to_type is not None:
        return _End((to_type, to_id), outward=False)
    raise Refused("Required request parameters fromId and fromType, or toId and toType, are not present")


async def _end_in_path(
    direction: Annotated[str, Path(pattern="^(from|to)$")],
    kind: Annotated[str, Path(alias="entityType")],
    entity_id: Annotated[Uuid, Path(alias="entityId")],
) -> _End:
    return _End((kind, entity_id), outward=direction == "from")


_OneEnd = Annotated[_End, Depends(_end)]
_EndInPath = Annotated[_End, Depends(_end_in_path)]


@router.get("/relations", summary="Relations from an entity, or to one")
async def page(end: _OneEnd, caller: AnyUser, kind: _Kind = None, group: _Group = COMMON) -> list[RelationJson]:
    return await caller.read(lambda session: [_json(each) for each in _of(session, caller, end, kind, group)])


@router.get("/relations/info", summary="Relations from an entity, or to one, with the others' names")
async def infos(end: _OneEnd, caller: AnyUser, group: _Group = COMMON) -> list[RelationInfo]:
    return await caller.read(
        lambda session: _infos(session, _of(session, caller, end, None, group), outward=end.outward)
    )


@router.get(
    "/relations/info/{direction}/{entityType}/{entityId}",
    dependencies=[NEWER_ROUTE],
    summary="The same, as the newest releases have it",
)
async def infos_by_path(end: _EndInPath, caller: AnyUser, group: _Group = COMMON) -> list[RelationInfo]:
    return await infos(end, caller, group)


@router.get(
    "/relations/{direction}/{entityType}/{entityId}",
    dependencies=[NEWER_ROUTE],
    summary="The same, as the newest releases have it",
)
async def page_by_path(end: _EndInPath, caller: AnyUser, group: _Group = COMMON) -> list[RelationJson]:
    return await page(end, caller, None, group)


@router.get(
    "/relations/{direction}/{entityType}/{entityId}/{relationType}",
    dependencies=[NEWER_ROUTE],
    summary="The same, of a type",
)
async def page_of_type(
    end: _EndInPath, kind: Annotated[str, Path(alias="relationType")], caller: AnyUser, group: _Group = COMMON
) -> list[RelationJson]:
    return await page(end, caller, kind, group)


def _of(session: Session, caller: Caller, end: _End, kind: str | None, group: str) -> list[Relation]:
    caller.entity(session, _id(end.node))
    found = relations.of(session, [end.node], outward=end.outward, kind=kind, group=_group(group))
    return _visible(session, caller, found)


def _visible(session: Session, caller: Caller, found: Iterable[Relation]) -> list[Relation]:
    """Return the relations both of whose ends the user may see."""
    if caller.customer_id is None:
        return list(found)
    ends = {each: ((each.from_type, each.from_id), (each.to_type, each.to_id)) for each in found}
    # All at once; looked at one by one they come from the session, without a query each.
    there = entities.all_of(session, (node for pair in ends.values() for node in pair))

    def may_see(node: Node) -> bool:
        try:
            caller.entity(session, _id(node))
        except Forbidden:
            return False
        return True

    seen = {node for node in there if may_see(node)}
    return [each for each, pair in ends.items() if seen.issuperset(pair)]


def _infos(session: Session, found: Sequence[Relation], *, outward: bool) -> list[RelationInfo]:
    others = [relations.other_end(each, outward=outward) for each in found]
    names = {node: Subject.of(each).name for node, each in entities.all_of(session, others).items()}
    name = "toName" if outward else "fromName"
    return [
        RelationInfo.model_validate({**_fields(each), name: names.get(other, _NO_NAME)})
        for each, other in zip(found, others, strict=True)
    ]


# Searches.


@router.post("/relations", summary="Relations that are found from an entity on, or towards one")
async def find(query: RelationsQuery, caller: AnyUser) -> list[RelationJson]:
    return await caller.read(lambda session: [_json(each) for each in _found(session, caller, query)])


@router.post("/relations/info", summary="The same, with the others' names")
async def find_infos(query: RelationsQuery, caller: AnyUser) -> list[RelationInfo]:
    outward = query.parameters is not None and query.parameters.direction == "FROM"
    return await caller.read(lambda session: _infos(session, _found(session, caller, query), outward=outward))


def _found(session: Session, caller: Caller, query: RelationsQuery) -> list[Relation]:
    wanted = query.parameters
    if wanted is None or query.filters is None:
        raise NotFound("parameters and filters are missing")
    root = (wanted.root_type, wanted.root_id)
    caller.entity(session, _id(root))
    search = Search(
        root=root,
        outward=wanted.direction == "FROM",
        group=wanted.group,
        levels=wanted.max_level,
        last_only=wanted.fetch_last_level_only,
    )
    found = relations.search(session, search)
    matching = [each for each in found if _matches(each, query.filters, outward=search.outward)]
    return _visible(session, caller, matching)


def _matches(relation: Relation, filters: Sequence[RelationFilter], *, outward: bool) -> bool:
    kind, _ = relations.other_end(relation, outward=outward)
    return not filters or any(
        (not each.relation_type or (each.relation_type == relation.type) != each.negate)
        and (not each.entity_types or kind in each.entity_types)
        for each in filters
    )


@router.post("/devices", summary="Devices of some profiles that are found along relations")
async def find_devices(query: DeviceQuery, caller: AnyUser) -> list[DeviceJson]:
    if query.parameters is None or query.device_types is None:
        raise NotFound("parameters and deviceTypes are missing")
    only = RelationFilter(relation_type=query.relation_type or CONTAINS, entity_types=["DEVICE"])
    outward, types = query.parameters.direction == "FROM", set(query.device_types)

    def read(session: Session) -> list[DeviceJson]:
        found = _found(session, caller, RelationsQuery(parameters=query.parameters, filters=[only]))
        ids: list[UUID] = list(dict.fromkeys(relations.other_end(each, outward=outward)[1] for each in found))
        rows = [
            row
            for part in parts(ids)
            for row in devices.page(session, DevicePageQuery(size=len(part), ids=part, customer_id=caller.customer_id))[
                0
            ]
        ]
        return [device_json(caller.tenant, row) for row in rows if row[1] in types]

    return await caller.read(read)
