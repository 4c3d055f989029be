"""JSON of commands over a WebSocket. As there, a command with a field that it does not have cannot be read."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from bench.registry.aggregation import Aggregation, IntervalType
from bench.server.http.operator.schemas.common import Text, ThingsBoardModel
from bench.server.http.operator.schemas.entity_query import CountQuery, DataQuery, EntityKey

_Int = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]
_Long = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]


class _Strict(ThingsBoardModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=False, extra="forbid")


class AuthCommand(_Strict):
    cmd_id: _Int = 0
    token: str | None = None


class _Command(_Strict):
    type: str
    cmd_id: _Int = 0


class _DeviceCommand(_Command):
    entity_type: Text | None = None
    entity_id: Text | None = None
    keys: Text | None = None
    scope: Text | None = None


class _Summed(_Strict):
    """The way in which entries of a time are summed up."""

    start_ts: _Long = 0
    interval: _Long = 0
    limit: _Int = 0


class AttributesCommand(_DeviceCommand):
    """Follow attributes."""

    type: Literal["ATTRIBUTES"] = "ATTRIBUTES"
    unsubscribe: bool = False


class SeriesCommand(_DeviceCommand, _Summed):
    """Follow series; with a time window, what was stored in it is sent first."""

    type: Literal["TIMESERIES"] = "TIMESERIES"
    unsubscribe: bool = False
    time_window: _Long = 0
    agg: Aggregation | Literal[""] | None = None


class HistoryCommand(_DeviceCommand, _Summed):
    """Read series once."""

    type: Literal["TIMESERIES_HISTORY"] = "TIMESERIES_HISTORY"
    end_ts: _Long = 0
    agg: Aggregation | Literal[""] | None = None


class LatestPart(_Strict):
    keys: list[EntityKey] = Field(default=[], max_length=100)


class _EntriesPart(_Summed):
    keys: list[Text] = Field(default=[], max_length=100)
    agg: Aggregation | None = None
    interval_type: IntervalType | None = None
    time_zone_id: Annotated[str, Field(max_length=255)] | None = None
    fetch_latest_previous_point: Literal[False] | None = None


class SeriesPart(_EntriesPart):
    time_window: _Long = 0


class HistoryPart(_EntriesPart):
    end_ts: _Long = 0


class AggregatedKey(_Strict):
    """A series of which one value is wanted, and one of another time to compare it with."""

    id: _Int = 0
    key: Text
    agg: Aggregation
    previous_start_ts: _Long | None = None
    previous_end_ts: _Long | None = None
    previous_value_only: bool | None = None


class AggregatedPart(_Strict):
    keys: list[AggregatedKey] = Field(default=[], max_length=100)
    start_ts: _Long = 0
    end_ts: _Long = 0


class EntityDataCommand(_Command):
    """Find devices, read values of them, and follow these."""

    type: Literal["ENTITY_DATA"] = "ENTITY_DATA"
    query: DataQuery | None = None
    history_cmd: HistoryPart | None = None
    latest_cmd: LatestPart | None = None
    ts_cmd: SeriesPart | None = None
    agg_history_cmd: AggregatedPart | None = None


class EntityCountCommand(_Command):
    """Count devices, and go on doing so."""

    type: Literal["ENTITY_COUNT"] = "ENTITY_COUNT"
    query: CountQuery | None = None


class AlarmsCommand(_Command):
    """Follow alarms, of which there are none."""

    type: Literal["ALARM_DATA", "ALARM_COUNT", "ALARM_STATUS"]
    query: dict[str, Any] | None = None
    originator_id: dict[str, Any] | None = None
    type_list: list[Text] | None = None
    severity_list: list[Text] | None = None


class UnsubscribeCommand(_Command):
    """Follow devices, or alarms, no longer."""

    type: Literal[
        "ENTITY_DATA_UNSUBSCRIBE",
        "ENTITY_COUNT_UNSUBSCRIBE",
        "ALARM_DATA_UNSUBSCRIBE",
        "ALARM_COUNT_UNSUBSCRIBE",
        "ALARM_STATUS_UNSUBSCRIBE",
    ] = "ENTITY_DATA_UNSUBSCRIBE"


Command = (
    AttributesCommand
    | SeriesCommand
    | HistoryCommand
    | EntityDataCommand
    | EntityCountCommand
    | AlarmsCommand
    | UnsubscribeCommand
)


class Commands(_Strict):
    """The commands of one message."""

    auth_cmd: AuthCommand | None = None
    cmds: list[Annotated[Command, Field(discriminator="type")]] | None = None

    def each(self) -> Iterator[Command]:
        """Yield the commands."""
        yield from self.cmds or ()


class OldCommands(_Strict):
    """A message at `/api/ws/plugins/telemetry`, which has a list for each kind of command."""

    attr_sub_cmds: list[AttributesCommand] | None = None
    ts_sub_cmds: list[SeriesCommand] | None = None
    history_cmds: list[HistoryCommand] | None = None
    entity_data_cmds: list[EntityDataCommand] | None = None
    entity_data_unsubscribe_cmds: list[UnsubscribeCommand] | None = None
    entity_count_cmds: list[EntityCountCommand] | None = None
    entity_count_unsubscribe_cmds: list[UnsubscribeCommand] | None = None

    auth_cmd: None = None

    def each(self) -> Iterator[Command]:
        """Yield the commands, kind by kind as there."""
        lists: tuple[Any, ...] = (
            self.attr_sub_cmds,
            self.ts_sub_cmds,
            self.history_cmds,
            self.entity_data_cmds,
            self.entity_data_unsubscribe_cmds,
            self.entity_count_cmds,
            self.entity_count_unsubscribe_cmds,
        )
        for commands in lists:
            yield from commands or ()
