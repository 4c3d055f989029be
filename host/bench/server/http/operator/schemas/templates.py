"""JSON of templates, and of what devices inherit from them."""

from typing import Annotated, Any

from fastapi import Body
from pydantic import Field

from bench.contract.templates import Template, Value, ValueType
from bench.server.http.operator.schemas.common import ThingsBoardModel


def _is_none(value: object) -> bool:
    return value is None


class FieldJson(ThingsBoardModel):
    """A custom field of a template."""

    type: ValueType
    default: Value | None = Field(default=None, exclude_if=_is_none)
    required: bool = Field(default=False, description="Whoever makes a device has to give it a value.")


class SeriesJson(ThingsBoardModel):
    """Telemetry that devices send."""

    type: ValueType
    unit: str = Field(default="", examples=["°C"])


class TemplateJson(ThingsBoardModel):
    """A template."""

    fields: dict[str, FieldJson]
    telemetry: dict[str, SeriesJson]
    topics: str = Field(description="The levels before `data`, `status` and `cmd`.", examples=["{prefix}/{type}/{id}"])
    naming: str = Field(description="The names of new devices; empty: nothing of its own.", examples=["{type}-{NNN}"])

    @classmethod
    def of(cls, template: Template) -> "TemplateJson":
        """Return the JSON of a template."""
        return cls(
            fields={name: FieldJson(**vars(each)) for name, each in template.fields.items()},
            telemetry={key: SeriesJson(**vars(each)) for key, each in template.telemetry.items()},
            topics=template.topics,
            naming=template.naming,
        )


class FieldValueJson(ThingsBoardModel):
    """A field of a device."""

    type: ValueType
    value: Value | None
    own: bool = Field(description="Whether the value is the device's own, or the template's.")
    required: bool


class TopicsJson(ThingsBoardModel):
    """A device's topics at a broker."""

    data: str = Field(examples=["iot/press/press-001/data"])
    status: str
    commands: str


class InheritedJson(ThingsBoardModel):
    """All that a device has by its template."""

    fields: dict[str, FieldValueJson]
    hidden: dict[str, Value] = Field(description="Values of fields that its template has not, or with another type.")
    telemetry: dict[str, SeriesJson]
    topics: TopicsJson


_A_FIELD = {"type": "text", "default": "red"}
_A_TEMPLATE = {"fields": {"color": _A_FIELD}, "telemetry": {"t": {"type": "number", "unit": "°C"}}}
TemplateForm = Annotated[
    dict[str, Any], Body(description="A template: what is left out is not there.", examples=[_A_TEMPLATE])
]
ValuesForm = Annotated[
    dict[str, Any],
    Body(description="Values by the names of their fields; null removes one.", examples=[{"color": "red"}]),
]
