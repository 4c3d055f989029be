"""Conditions on devices by their fields, attributes and latest telemetry, as SQL.

A value in the tables is JSON text; here it is compared as text without its quotes, as a number, or as a truth value.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Float, and_, case, cast, func, literal, not_, select

from bench.registry import lifecycle, templates
from bench.registry.model import (
    CLIENT_SCOPE,
    SERVER_SCOPE,
    SHARED_SCOPE,
    Attribute,
    Customer,
    Device,
    Profile,
    Telemetry,
)

FIELDS: Mapping[str, Any] = {
    "createdTime": Device.created_ms,
    "name": Device.name,
    "label": Device.label,
    "type": Profile.name,
    "customerTitle": Customer.title,
    "ownerName": Customer.title,
    "serialNumber": Device.serial_number,
    "provisioningState": lifecycle.PROVISIONING_STATE,
    "access": lifecycle.ACCESS,
    "connectivityStatus": lifecycle.STATUS,
}
"""The fields of a device that can be compared, and sorted by. All but the first are text; the last four are not
ThingsBoard's."""
CUSTOM = "field."
"""What the names of fields of templates begin with beside these."""
SCOPES = {"CLIENT_ATTRIBUTE": CLIENT_SCOPE, "SHARED_ATTRIBUTE": SHARED_SCOPE, "SERVER_ATTRIBUTE": SERVER_SCOPE}
KINDS = {scope: kind for kind, scope in SCOPES.items()}
_ANY_SCOPE = "ATTRIBUTE"

_STRINGS: Mapping[str, Callable[[Any, str], ColumnElement[bool]]] = {
    "EQUAL": lambda text, wanted: text == wanted,
    "NOT_EQUAL": lambda text, wanted: text != wanted,
    "STARTS_WITH": lambda text, wanted: text.startswith(wanted, autoescape=True),
    "ENDS_WITH": lambda text, wanted: text.endswith(wanted, autoescape=True),
    "CONTAINS": lambda text, wanted: text.contains(wanted, autoescape=True),
    "NOT_CONTAINS": lambda text, wanted: not_(text.contains(wanted, autoescape=True)),
}
_NUMBERS: Mapping[str, Callable[[Any, float], ColumnElement[bool]]] = {
    "EQUAL": lambda number, wanted: number == wanted,
    "NOT_EQUAL": lambda number, wanted: number != wanted,
    "GREATER": lambda number, wanted: number > wanted,
    "LESS": lambda number, wanted: number < wanted,
    "GREATER_OR_EQUAL": lambda number, wanted: number >= wanted,
    "LESS_OR_EQUAL": lambda number, wanted: number <= wanted,
}


class Key:
    """A field, an attribute or a series of a device.

    Args:
        kind: `ENTITY_FIELD`, `TIME_SERIES`, a key of SCOPES, or `ATTRIBUTE`: of whatever scope has it.
        name: Its name.

    Raises:
        KeyError: Devices have no such field.
    """

    def __init__(self, kind: str, name: str) -> None:
        custom = name.startswith(CUSTOM)
        self._field = FIELDS[name] if kind == "ENTITY_FIELD" and not custom else None
        self._value = None if self._field is not None else _value(kind, name)

    @property
    def order(self) -> list[Any]:
        """The columns to sort rows by: numbers before text."""
        return [self._field] if self._value is None else [self._number, self._text]

    @property
    def _text(self) -> Any:
        if self._value is None:
            return func.coalesce(self._field, "")
        quoted = func.substr(self._value, 2, func.length(self._value) - 2)
        return case((func.substr(self._value, 1, 1) == '"', quoted), else_=self._value)

    @property
    def _number(self) -> Any:
        if self._value is None:
            return self._field if self._field is Device.created_ms else literal(None)
        is_number = func.substr(self._value, 1, 1).in_([*"-0123456789"])
        return case((is_number, cast(self._value, Float)))

    def string(self, operation: str, wanted: str, *, ignore_case: bool) -> ColumnElement[bool]:
        """Return the condition that the text is, begins with or has another one; `IN` has several, with commas."""
        text: Any = self._text
        escaped = wanted if self._value is None else json.dumps(wanted)[1:-1]
        if ignore_case:
            text, escaped = func.lower(text), escaped.lower()
        if operation in {"IN", "NOT_IN"}:
            among: ColumnElement[bool] = text.in_([each.strip() for each in escaped.split(",")])
            return among if operation == "IN" else not_(among)
        return _STRINGS[operation](text, escaped)

    def number(self, operation: str, wanted: float) -> ColumnElement[bool]:
        """Return the condition that the number is equal to another, greater, and so on."""
        return _NUMBERS[operation](self._number, wanted)

    def truth(self, operation: str, wanted: bool) -> ColumnElement[bool]:  # noqa: FBT001 - what it is compared with
        """Return the condition that the truth value is, or is not, another."""
        value = literal(None) if self._value is None else self._value
        expected = "true" if wanted else "false"
        if operation == "EQUAL":
            return and_(value == expected)
        return and_(value.in_(["true", "false"]), value != expected)


def _value(kind: str, name: str) -> Any:
    if kind == "ENTITY_FIELD":
        return templates.value(name[len(CUSTOM) :])
    if kind == "TIME_SERIES":
        found = select(Telemetry.value).where(Telemetry.device_id == Device.id, Telemetry.key == name)
        return found.correlate(Device).scalar_subquery()
    found = select(Attribute.value).where(Attribute.device_id == Device.id, Attribute.key == name)
    if kind != _ANY_SCOPE:
        found = found.where(Attribute.scope == SCOPES[kind])
    # of one in several scopes the newest
    return found.order_by(Attribute.ts_ms.desc()).limit(1).correlate(Device).scalar_subquery()
