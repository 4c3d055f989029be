"""JSON of queries for entities by their fields, attributes and telemetry."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from bench.server.http.operator.schemas.common import Id, Json, Milliseconds, Text, ThingsBoardModel

AttributeType = Literal["ATTRIBUTE", "CLIENT_ATTRIBUTE", "SHARED_ATTRIBUTE", "SERVER_ATTRIBUTE"]


class EntityKey(ThingsBoardModel):
    type: Literal["ENTITY_FIELD", "TIME_SERIES"] | AttributeType
    key: Text = Field(examples=["name"])


class SingleEntity(ThingsBoardModel):
    type: Literal["singleEntity"]
    single_entity: Id


class EntityList(ThingsBoardModel):
    type: Literal["entityList"]
    entity_type: str
    entity_list: list[UUID] = Field(max_length=10_000)


class EntityName(ThingsBoardModel):
    type: Literal["entityName"]
    entity_type: str
    entity_name_filter: Text | None = None


class EntityType(ThingsBoardModel):
    type: Literal["entityType"]
    entity_type: str


class DeviceType(ThingsBoardModel):
    type: Literal["deviceType"]
    device_types: list[Text] | None = None
    device_type: Text | None = None
    device_name_filter: Text | None = None


EntityFilter = Annotated[SingleEntity | EntityList | EntityName | EntityType | DeviceType, Field(discriminator="type")]


class PredicateValue(ThingsBoardModel):
    default_value: Json = None


class StringPredicate(ThingsBoardModel):
    type: Literal["STRING"]
    operation: Literal["EQUAL", "NOT_EQUAL", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "NOT_CONTAINS", "IN", "NOT_IN"]
    value: PredicateValue
    ignore_case: bool = False


class NumericPredicate(ThingsBoardModel):
    type: Literal["NUMERIC"]
    operation: Literal["EQUAL", "NOT_EQUAL", "GREATER", "LESS", "GREATER_OR_EQUAL", "LESS_OR_EQUAL"]
    value: PredicateValue


class BooleanPredicate(ThingsBoardModel):
    type: Literal["BOOLEAN"]
    operation: Literal["EQUAL", "NOT_EQUAL"]
    value: PredicateValue


class ComplexPredicate(ThingsBoardModel):
    type: Literal["COMPLEX"]
    operation: Literal["AND", "OR"]
    predicates: list["Predicate"] = Field(min_length=1, max_length=100)


Predicate = Annotated[
    StringPredicate | NumericPredicate | BooleanPredicate | ComplexPredicate, Field(discriminator="type")
]


class KeyFilter(ThingsBoardModel):
    key: EntityKey
    value_type: Literal["STRING", "NUMERIC", "BOOLEAN", "DATE_TIME"] | None = None
    predicate: Predicate


class CountQuery(ThingsBoardModel):
    """A query for the number of entities."""

    entity_filter: EntityFilter
    key_filters: list[KeyFilter] | None = Field(default=None, max_length=100)


class SortOrder(ThingsBoardModel):
    key: EntityKey
    direction: Literal["ASC", "DESC"] = "ASC"


class PageLink(ThingsBoardModel):
    page_size: int = Field(ge=1, le=(1 << 31) - 1, examples=[10])
    page: int = Field(default=0, ge=0, le=(1 << 31) - 1)
    dynamic: bool = Field(default=False, description="Over a WebSocket: look again, every 6 s.")
    text_search: Text | None = Field(default=None, max_length=255)
    sort_order: SortOrder | None = None


class DataQuery(CountQuery):
    """A query for entities, and for values of them."""

    page_link: PageLink
    entity_fields: list[EntityKey] = Field(default=[], max_length=100)
    latest_values: list[EntityKey] = Field(default=[], max_length=100)


class TsValue(ThingsBoardModel):
    ts: Milliseconds
    value: str


class EntityData(ThingsBoardModel):
    """An entity, with what was requested of it: `latest` by the types and names of keys."""

    entity_id: Id
    latest: dict[str, dict[str, TsValue]]
    timeseries: dict[str, Any] = Field(default={})
    agg_latest: dict[str, Any] = Field(default={})
