"""JSON of relations between entities, and of searches along them."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from bench.registry.relations import COMMON
from bench.server.http.operator.schemas.common import Id, Json, Text, ThingsBoardModel

Group = Literal["COMMON", "DASHBOARD", "RULE_CHAIN", "RULE_NODE", "EDGE", "EDGE_AUTO_ASSIGN_RULE_CHAIN"]
Direction = Literal["FROM", "TO"]


class RelationForm(ThingsBoardModel):
    """A relation to be stored, or to be changed if it is there."""

    from_: Id | None = Field(default=None, alias="from")
    to: Id | None = None
    type: Text | None = Field(default=None, examples=["Contains"])
    type_group: Group | None = None
    additional_info: Json = None


class RelationJson(ThingsBoardModel):
    from_: Id = Field(alias="from")
    to: Id
    type: str
    type_group: str
    additional_info: Json = None
    version: int


class RelationInfo(RelationJson):
    """A relation with the name of its other end."""

    from_name: str | None = None
    to_name: str | None = None


class SearchForm(ThingsBoardModel):
    """The root of a search along relations, and how far it goes."""

    root_id: UUID
    root_type: str
    direction: Direction
    relation_type_group: Group | None = None
    max_level: int = Field(default=1, description="Less than one is without a limit.")
    fetch_last_level_only: bool = False

    @property
    def group(self) -> str:
        """The group of relations along which it goes."""
        return self.relation_type_group or COMMON


class RelationFilter(ThingsBoardModel):
    relation_type: Text | None = None
    entity_types: list[str] | None = None
    negate: bool = False


class RelationsQuery(ThingsBoardModel):
    parameters: SearchForm | None = None
    filters: list[RelationFilter] | None = None


class DeviceQuery(ThingsBoardModel):
    """Devices that are found along relations of a type."""

    parameters: SearchForm | None = None
    relation_type: Text | None = None
    device_types: list[Text] | None = None
