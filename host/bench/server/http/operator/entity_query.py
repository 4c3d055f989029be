"""Routes of queries for devices by their fields, attributes and telemetry."""

import asyncio
import json
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from bench.errors import Refused
from bench.registry import device_query, devices, lifecycle, templates
from bench.registry.clock import now_ms
from bench.registry.device_query import KINDS, Key
from bench.registry.devices import DevicePageQuery
from bench.registry.model import Attribute, Device, Profile, Telemetry
from bench.server import json_writer
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Caller
from bench.server.http.operator.params import listed
from bench.server.http.operator.schemas.common import Id, PageData
from bench.server.http.operator.schemas.entity_query import (
    BooleanPredicate,
    ComplexPredicate,
    CountQuery,
    DataQuery,
    DeviceType,
    EntityData,
    EntityFilter,
    EntityKey,
    EntityList,
    EntityName,
    KeyFilter,
    NumericPredicate,
    Predicate,
    SingleEntity,
    TsValue,
)
from bench.server.http.operator.series import as_text

_FIELD, _STATUS = "ENTITY_FIELD", "connectivityStatus"
_ABSENT = TsValue(ts=0, value="")
Row = tuple[Device, str, str | None]

router = ApiRouter(AuthenticatedRoute, "entity queries")


@router.post("/entitiesQuery/count", summary="How many devices there are of a kind")
async def count(query: CountQuery, caller: AnyUser) -> int:
    return await caller.read(devices.count, wanted_devices(caller, query, DevicePageQuery(size=1)))


@router.post(
    "/entitiesQuery/find",
    summary="Devices of a kind, with what is requested of them",
    response_model=PageData[EntityData],
)
async def find(query: DataQuery, caller: AnyUser) -> Response:
    wanted = wanted_page(caller, query)

    def read(session: Session) -> PageData[EntityData]:
        rows, total = devices.page(session, wanted)
        latest = latest_values(session, [device.id for device, _, _ in rows], query)
        return listed((rows, total), wanted, lambda row: entity(row, query, latest))

    found = await caller.read(read)
    return Response(await asyncio.to_thread(_written, found), media_type="application/json")


def _written(found: PageData[EntityData]) -> bytes:
    """Return a page as JSON, made of parts: it may be long, and others get their turn between two."""
    data = ",".join(each.model_dump_json() for each in found.data)
    rest = found.model_copy(update={"data": []}).model_dump_json()
    return rest.replace('"data":[]', f'"data":[{data}]', 1).encode()


def wanted_page(caller: Caller, query: DataQuery) -> DevicePageQuery:
    """Return the page of devices that a query wants, of those that this user may see. Raises Refused."""
    link, order = query.page_link, query.page_link.sort_order
    wanted = DevicePageQuery(
        size=link.page_size,
        number=link.page,
        search=link.text_search or "",
        descending=order is not None and order.direction == "DESC",
        order=_key(order.key).order if order else (),
    )
    return wanted_devices(caller, query, wanted)


def wanted_devices(caller: Caller, query: CountQuery, wanted: DevicePageQuery) -> DevicePageQuery:
    """Return a page of the devices that a query wants, and that this user may see."""
    conditions = [*_filter(query.entity_filter), *(_condition(each) for each in query.key_filters or ())]
    return DevicePageQuery(**{**vars(wanted), "customer_id": caller.customer_id, "conditions": conditions})


def _filter(wanted: EntityFilter) -> list[ColumnElement[bool]]:
    kind = wanted.single_entity.entity_type if isinstance(wanted, SingleEntity) else "DEVICE"
    kind = kind if isinstance(wanted, (SingleEntity, DeviceType)) else wanted.entity_type
    if kind != "DEVICE":
        raise Refused(f"Only devices can be found here, no {kind}!")
    match wanted:
        case SingleEntity():
            return [Device.id == wanted.single_entity.id]
        case EntityList():
            return [Device.id.in_(wanted.entity_list)]
        case EntityName():
            return [Device.name.startswith(wanted.entity_name_filter or "", autoescape=True)]
        case DeviceType():
            kinds = wanted.device_types or [each for each in [wanted.device_type] if each is not None]
            named = Device.name.startswith(wanted.device_name_filter or "", autoescape=True)
            return [Profile.name.in_(kinds), named]
        case _:
            return []


def _key(key: EntityKey) -> Key:
    try:
        return Key(key.type, key.key)
    except KeyError:
        known = ", ".join((*device_query.FIELDS, f"{device_query.CUSTOM}NAME"))
        raise Refused(f"Devices have no field {key.key} that can be compared: there are {known}!") from None


def _is_custom(key: EntityKey) -> bool:
    return key.type == _FIELD and key.key.startswith(device_query.CUSTOM)


def _condition(wanted: KeyFilter) -> ColumnElement[bool]:
    return _predicate(_key(wanted.key), wanted.predicate)


def _predicate(key: Key, predicate: Predicate) -> ColumnElement[bool]:
    if isinstance(predicate, ComplexPredicate):
        parts = [_predicate(key, each) for each in predicate.predicates]
        return and_(*parts) if predicate.operation == "AND" else or_(*parts)
    value = predicate.value.default_value
    if isinstance(predicate, NumericPredicate):
        if not isinstance(value, (int, float)):
            raise Refused("A numeric predicate needs a number!")
        return key.number(predicate.operation, value)
    if isinstance(predicate, BooleanPredicate):
        return key.truth(predicate.operation, bool(value))
    text = value if isinstance(value, str) else json.dumps(value)
    return key.string(predicate.operation, text, ignore_case=predicate.ignore_case)


def latest_values(session: Session, ids: Sequence[UUID], query: DataQuery) -> dict[tuple[UUID, str, str], TsValue]:
    """Return the latest values that a query wants by device, type and name; the devices' status, if it wants that."""
    found: dict[tuple[UUID, str, str], TsValue] = {}
    keys = query.latest_values
    if any((each.type, each.key) == (_FIELD, _STATUS) for each in (*query.entity_fields, *keys)):
        now = now_ms()
        statuses = lifecycle.statuses(session, ids)
        found = {(device_id, _FIELD, _STATUS): TsValue(ts=now, value=each) for device_id, each in statuses.items()}
    if any(_is_custom(each) for each in (*query.entity_fields, *keys)):
        now = now_ms()
        for device_id, fields in templates.values(session, ids).items():
            for name, shown in fields.items():
                text = "" if shown is None else as_text(json.dumps(shown))
                found[device_id, _FIELD, device_query.CUSTOM + name] = TsValue(ts=now, value=text)
    series = {each.key for each in keys if each.type == "TIME_SERIES"}
    names = {each.key for each in keys if each.type != "TIME_SERIES"}
    for row in session.scalars(select(Telemetry).where(Telemetry.device_id.in_(ids), Telemetry.key.in_(series))):
        found[row.device_id, "TIME_SERIES", row.key] = TsValue(ts=row.ts_ms, value=as_text(row.value))
    attributes = select(Attribute).where(Attribute.device_id.in_(ids), Attribute.key.in_(names))
    for each in session.scalars(attributes.order_by(Attribute.ts_ms)):  # of one in several scopes the newest
        value = TsValue(ts=each.ts_ms, value=as_text(each.value))
        found[each.device_id, "ATTRIBUTE", each.key] = value
        found[each.device_id, KINDS[each.scope], each.key] = value
    return found


def entity(row: Row, query: DataQuery, values: dict[tuple[UUID, str, str], TsValue]) -> EntityData:
    """Return a device as the answer to a query, with its latest values."""
    device, profile, customer = row
    info = device.additional_info
    fields = {
        "createdTime": str(device.created_ms),
        "entityType": "DEVICE",
        "name": device.name,
        "label": device.label or "",
        "type": profile,
        "customerTitle": customer or "",
        "ownerName": customer or "",
        "additionalInfo": "" if info is None else json_writer.compact(info),
        "serialNumber": device.serial_number or "",
        "provisioningState": lifecycle.provisioning_state(device).value,
        "access": lifecycle.access(device).value,
    }
    now = now_ms()
    latest: dict[str, dict[str, TsValue]] = {}
    for each in (*query.entity_fields, *query.latest_values):
        if each.type == _FIELD:
            value = values.get((device.id, _FIELD, each.key)) or TsValue(ts=now, value=fields.get(each.key, ""))
        else:
            value = values.get((device.id, each.type, each.key), _ABSENT)
        latest.setdefault(each.type, {})[each.key] = value
    return EntityData(entity_id=Id(entity_type="DEVICE", id=device.id), latest=latest)
