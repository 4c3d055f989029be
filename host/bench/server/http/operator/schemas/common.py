"""Common JSON of operators' clients: names as ThingsBoard has them, ids, pages, errors.

What is sent may have more fields than are listed here: clients send back what they were given.
"""

from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

T = TypeVar("T")


# Stands for no entity where ThingsBoard's JSON wants one (EntityId.NULL_UUID).
NOBODY = UUID("13814000-1dd2-11b2-8080-808080808080")


Milliseconds = Annotated[int, Field(description="Milliseconds since the epoch.", examples=[1735689600000])]


Json = Annotated[Any, Field(description="Any JSON.")]


class ThingsBoardModel(BaseModel):
    """An object with ThingsBoard's names in its JSON."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class Id(ThingsBoardModel):
    """An entity's kind and id."""

    entity_type: str = Field(default="", examples=["DEVICE"])
    id: UUID


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
        description="10 not logged in, 11 token expired, 20 not allowed, 31 bad request, 32 not found, "
        "33 too many requests, 35 somebody else was faster.",
        examples=[31],
    )
    timestamp: Milliseconds


class EntityInfo(ThingsBoardModel):
    id: Id
    name: str
