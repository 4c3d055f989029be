"""Common JSON of operators' clients: names as ThingsBoard has them, ids, pages, errors.

What is sent may have more fields than are listed here: clients send back what they were given.
"""

import json
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bench.server.http.operator.errors import Failed

T = TypeVar("T")


# Stands for no entity where ThingsBoard's JSON wants one (EntityId.NULL_UUID).
NOBODY = UUID("13814000-1dd2-11b2-8080-808080808080")


Milliseconds = Annotated[int, Field(description="Milliseconds since the epoch.", examples=[1735689600000])]


Json = Annotated[Any, Field(description="Any JSON.")]


def _text(value: Any) -> Any:
    """Return a number or a boolean as its text: ThingsBoard takes any scalar for text."""
    return json.dumps(value) if isinstance(value, (bool, int, float)) else value


Text = Annotated[str, BeforeValidator(_text)]


class ThingsBoardModel(BaseModel):
    """An object with ThingsBoard's names in its JSON."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class BareId(ThingsBoardModel):
    """An id of what is always of one kind."""

    id: UUID


class Id(BareId):
    """An entity's kind and id."""

    entity_type: str = Field(default="", examples=["DEVICE"])


def _id_of(kind: str) -> Any:
    """Return the type of ids of a kind: with another kind, or without one, they could name something else."""

    def check(value: Id) -> Id:
        if value.entity_type != kind:
            raise Failed(f"an id needs the entityType {kind}")
        return value

    return AfterValidator(check)


DeviceRef = Annotated[Id, _id_of("DEVICE")]
ProfileRef = Annotated[Id, _id_of("DEVICE_PROFILE")]
CustomerRef = Annotated[Id, _id_of("CUSTOMER")]
UserRef = Annotated[Id, _id_of("USER")]
PackageRef = Annotated[Id, _id_of("OTA_PACKAGE")]
ApiKeyRef = Annotated[Id, _id_of("API_KEY")]

Version = Annotated[
    int | None, Field(description="As it was read; another one is refused with 409. Without it nothing is compared.")
]


class PageData(ThingsBoardModel, Generic[T]):
    """A page of a list."""

    data: list[T]
    total_pages: int
    total_elements: int
    has_next: bool


class ErrorAnswer(ThingsBoardModel):
    """The form of every error."""

    status: int = Field(description="The HTTP status.", examples=[400])
    message: str
    error_code: int = Field(
        description="2 unreadable, 10 not logged in, 11 token expired, 20 not allowed, 31 bad request, 32 not found, "
        "33 too many requests, 35 somebody else was faster, 46 not sortable by that.",
        examples=[31],
    )
    timestamp: Milliseconds


class EntityInfo(ThingsBoardModel):
    id: Id
    name: str
