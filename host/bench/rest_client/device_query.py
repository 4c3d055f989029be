"""Devices found by their profile, fields and attributes, as ThingsBoard's entity query finds them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.rest_client.session import PAGE, Session, id_of, json_object, json_objects

_FIELD = "ENTITY_FIELD"


async def find(  # noqa: PLR0913 - all that there is to a query, by name
    server: Session,
    *,
    columns: Sequence[str] = ("name",),
    profile: str = "",
    search: str = "",
    fields: Mapping[str, str] | None = None,
    attributes: Sequence[tuple[str, str]] = (),
    ids: Sequence[str] = (),
) -> list[dict[str, str]]:
    """Return the devices that meet all conditions, by name: their `id`, and the columns as text.

    Args:
        server: The server.
        columns: Fields to return; those that the server does not know are empty.
        profile: The name of their profile; empty for any.
        search: A text in one of the columns.
        fields: Fields with their values.
        attributes: Attributes of any scope with their values, JSON or text.
        ids: The ids of the devices that may be among them, whatever their profile; empty for any.
    """
    filtered: dict[str, Any] = {"type": "entityType", "entityType": "DEVICE"}
    if profile:
        filtered = {"type": "deviceType", "deviceTypes": [profile], "deviceNameFilter": ""}
    if ids:
        filtered = {"type": "entityList", "entityType": "DEVICE", "entityList": list(ids)}
    conditions = [_condition(_FIELD, key, "STRING", value) for key, value in (fields or {}).items()]
    conditions += [_condition("ATTRIBUTE", key, *_typed(value)) for key, value in attributes]
    query: dict[str, Any] = {
        "entityFilter": filtered,
        "keyFilters": conditions,
        "entityFields": [{"type": _FIELD, "key": key} for key in columns],
        "latestValues": [],
    }
    order = {"key": {"type": _FIELD, "key": "name"}, "direction": "ASC"}
    found: list[dict[str, str]] = []
    for number in range(1 << 31):
        query["pageLink"] = {"pageSize": PAGE, "page": number, "textSearch": search, "sortOrder": order}
        page = json_object(await server.post("/api/entitiesQuery/find", query))
        for row in json_objects(page["data"]):
            latest = json_object(json_object(row["latest"])[_FIELD])
            values = {key: str(json_object(each)["value"]) for key, each in latest.items()}
            found.append({**dict.fromkeys(columns, ""), **values, "id": id_of({"id": row["entityId"]})})
        if not page["hasNext"]:
            break
    return found


def _typed(text: str) -> tuple[str, Any]:
    """Return the type of a condition for a value, and the value: a number, a truth value, or text."""
    try:
        value = json.loads(text)
    except ValueError:
        return "STRING", text
    if isinstance(value, bool):
        return "BOOLEAN", value
    return ("NUMERIC", value) if isinstance(value, int | float) else ("STRING", text)


def _condition(kind: str, key: str, value_type: str, value: Any) -> dict[str, Any]:
    predicate: dict[str, Any] = {"type": value_type, "operation": "EQUAL", "value": {"defaultValue": value}}
    if value_type == "STRING":
        predicate["ignoreCase"] = False
    return {"key": {"type": kind, "key": key}, "valueType": value_type, "predicate": predicate}
