"""Templates of profiles: what all devices of a profile have in common, and inherit.

A template has custom fields, each with a type and a default value or the demand for one, the topics of its devices at a
broker (`broker_topics`), the telemetry that they send, for people to read, and the names of new ones (`naming`).
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from bench.contract import broker_topics, naming
from bench.errors import Refused

T = TypeVar("T")

FIELDS = 64
"""Fields of a template, and values that a device has of its own."""
TELEMETRY = 256
"""Keys of telemetry that a template declares."""
TEXT = 1024
"""Characters of a value."""
SIZE = 32 << 10
"""Bytes of a template, as JSON."""
OWN_SIZE = 8 << 10
"""Bytes of the values that a device has of its own, as JSON."""

Value = str | int | float | bool

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Xively's JSON has a device's fields beside these; words with `_` would be taken for those without.
_RESERVED = (
    *("id", "name", "created", "accountId", "deviceTemplateId", "serialNumber", "provisioningState"),
    *("account_id", "device_template_id", "serial_number", "provisioning_state"),
)
_KEY_LIMIT, _UNIT_LIMIT = 255, 32
# Beyond this, readers of JSON that have nothing but doubles see another number.
_WHOLE = 1 << 53


class ValueType(StrEnum):
    """The type of a field, or of telemetry."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, kw_only=True)
class Field:
    """A custom field."""

    type: ValueType
    default: Value | None = None
    """The value of devices that have none of their own."""
    required: bool = False
    """Whoever makes a device has to give it a value."""

    def is_valid(self, value: object) -> bool:
        """Return whether a device may have this value."""
        match self.type:
            case ValueType.TEXT:
                return isinstance(value, str) and len(value) <= TEXT and value.isprintable()
            case ValueType.BOOLEAN:
                return isinstance(value, bool)
            case ValueType.NUMBER:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    return False
                return math.isfinite(value) if isinstance(value, float) else abs(value) <= _WHOLE

    def checked(self, name: str, value: object) -> Value:
        """Return a value. Raises Refused for one that a device must not have."""
        if not self.is_valid(value):
            raise Refused(f"the field {name} takes {_TAKEN[self.type]}")
        assert isinstance(value, Value)
        return value

    def read(self, name: str, text: str) -> Value:
        """Return the value that a text stands for. Raises Refused."""
        found: object = text
        if self.type is not ValueType.TEXT:
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                found = None
        return self.checked(name, found)


_TAKEN = {
    ValueType.TEXT: f"text of at most {TEXT:,} characters, on one line",
    ValueType.NUMBER: f"a number: a whole one of at most {_WHOLE:,}, or with a point",
    ValueType.BOOLEAN: "true or false",
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """Telemetry that devices send."""

    type: ValueType
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template; the empty one is that of a profile without."""

    fields: Mapping[str, Field] = field(default_factory=dict)
    telemetry: Mapping[str, Series] = field(default_factory=dict)
    topics: str = broker_topics.PATTERN
    naming: str = ""
    """Empty: `naming.DEFAULT`, for those who ask for names of a pattern."""

    def to_json(self) -> dict[str, Any]:
        """Return what the template has, as `parse` reads it."""
        found = _present(self, fields={}, telemetry={}, topics=broker_topics.PATTERN, naming="")
        if self.fields:
            found["fields"] = {name: _present(each, default=None, required=False) for name, each in self.fields.items()}
        if self.telemetry:
            found["telemetry"] = {key: _present(each, unit="") for key, each in self.telemetry.items()}
        return found

    def required(self, own: Mapping[str, Value]) -> list[str]:
        """Return the required fields that a device with these values lacks."""
        return [name for name, each in self.fields.items() if each.required and not each.is_valid(own.get(name))]

    def check_complete(self, own: Mapping[str, Value], later: Collection[str] = ()) -> None:
        """Raise Refused if a new device with these values lacks a required field that is not one of `later`."""
        if lacking := [name for name in self.required(own) if name not in later]:
            raise Refused(f"its profile requires the field {', '.join(lacking)}: give it a value")

    def field_of(self, name: str) -> Field:
        """Return a field. Raises Refused if there is none."""
        found = self.fields.get(name)
        if found is None:
            raise Refused(f"its profile has no field {name[:80]}: it has {', '.join(self.fields) or 'none'}")
        return found

    def read(self, texts: Mapping[str, str]) -> dict[str, Value]:
        """Return values of fields that are written as texts. Raises Refused."""
        return {name: self.field_of(name).read(name, text) for name, text in texts.items()}

    def read_new(self, texts: Mapping[str, str]) -> dict[str, Value]:
        """Return the values of a new device that are written as texts. Raises Refused, also for what is missing."""
        values = self.read(texts)
        self.check_complete(values)
        return values


def effective(template: Template, own: Mapping[str, Value]) -> dict[str, Value | None]:
    """Return the values of all fields: a device's own, or else the defaults; None where there is neither."""
    return {
        name: own[name] if name in own and each.is_valid(own[name]) else each.default
        for name, each in template.fields.items()
    }


def changed(template: Template, own: Mapping[str, Value], changes: Mapping[str, Value | None]) -> dict[str, Value]:
    """Return a device's own values after changes; None removes one, also one that the template has no field for.

    Raises:
        Refused: There is no such field, it takes other values, or a device may not have as many.
    """
    found = dict(own)
    for name, value in changes.items():
        if value is not None:
            found[name] = template.field_of(name).checked(name, value)
        elif name in template.fields and template.fields[name].required:
            raise Refused(f"the field {name} is required: give it another value")
        else:
            found.pop(name, None)
    if len(found) > FIELDS or len(json.dumps(found)) > OWN_SIZE:
        raise Refused(f"a device has at most {FIELDS} values of fields, and {OWN_SIZE:,} bytes: remove some")
    return found


def is_name(text: str) -> bool:
    """Return whether a field may have this name."""
    return _NAME.fullmatch(text) is not None and text not in _RESERVED


def parse(found: object) -> Template:
    """Return the template that a client or a file describes.

    Raises:
        Refused: It is not one, or too large; the message names the part.
    """
    whole = _members("the template", found, _MEMBERS)
    template = Template(
        fields=_each("fields", whole, FIELDS, _field),
        telemetry=_each("telemetry", whole, TELEMETRY, _series),
        topics=broker_topics.check_pattern(_text("topics", whole) or broker_topics.PATTERN),
        naming=naming.check_pattern(_text("naming", whole)),
    )
    if len(json.dumps(template.to_json())) > SIZE:
        raise Refused(f"a template has at most {SIZE:,} bytes as JSON: leave something out")
    return template


def _field(name: str, found: object) -> Field:
    if not is_name(name):
        raise Refused(
            f"not a name of a field: {name[:80]!r}; write 1 to 64 letters, digits, _ and -, but none of "
            + ", ".join(_RESERVED)
        )
    where = f"fields.{name}"
    members = _members(where, found, ("type", "default", "required"))
    default, required = members.get("default"), members.get("required", False)
    made = Field(type=_type(where, members), required=required is True)
    if not isinstance(required, bool) or (required and default is not None):
        raise Refused(f"{where}.required is true or false, and a required field has no default")
    return made if default is None else Field(type=made.type, default=made.checked(name, default))


def _series(key: str, found: object) -> Series:
    if not 0 < len(key) <= _KEY_LIMIT or not key.isprintable():
        raise Refused(f"telemetry has a key of more than {_KEY_LIMIT} characters, or with control characters")
    where = f"telemetry.{key}"
    members = _members(where, found, ("type", "unit"))
    unit = _text("unit", members)
    if len(unit) > _UNIT_LIMIT or not unit.isprintable():
        raise Refused(f"{where}.unit has more than {_UNIT_LIMIT} characters, or control characters")
    return Series(type=_type(where, members), unit=unit)


_MEMBERS = ("fields", "telemetry", "topics", "naming")


def _each(what: str, whole: Mapping[str, Any], most: int, read: Callable[[str, object], T]) -> dict[str, T]:
    found = whole.get(what)
    if found is None:
        return {}
    if not isinstance(found, dict) or len(found) > most:
        raise Refused(f"{what} has to be an object with at most {most} members")
    return {name: read(name, each) for name, each in found.items()}


def _members(where: str, found: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(found, dict) or not set(found) <= set(known):
        raise Refused(f"{where} has to be an object with none but these members: {', '.join(known)}")
    return found


def _type(where: str, members: Mapping[str, Any]) -> ValueType:
    try:
        return ValueType(members.get("type", ""))
    except ValueError:
        raise Refused(f"{where}.type has to be {', '.join(ValueType)}") from None


def _text(what: str, members: Mapping[str, Any]) -> str:
    found = members.get(what)
    if found is not None and not isinstance(found, str):
        raise Refused(f"{what} has to be a text")
    return found or ""


def _present(found: object, **defaults: object) -> dict[str, Any]:
    """Return the members of an object that are not as by default."""
    return {key: value for key, value in vars(found).items() if key not in defaults or value != defaults[key]}
