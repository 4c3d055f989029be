"""JSON of attributes, time series and calls."""

from typing import Literal

from pydantic import Field

from bench.server.http.operator.schemas.common import Json, Milliseconds, ThingsBoardModel


class AttributeJson(ThingsBoardModel):
    last_update_ts: Milliseconds
    key: str
    value: Json


class EntryJson(ThingsBoardModel):
    """An entry of a series."""

    ts: Milliseconds
    value: Json


class RpcForm(ThingsBoardModel):
    """A call of a device."""

    method: str = Field(examples=["setGpio"])
    params: Json = Field(default=None, examples=[{"pin": 7, "value": 1}])
    timeout: int | None = Field(default=None, description="Milliseconds; at least 5000 count.", examples=[5000])
    expiration_time: int | None = Field(default=None, description="When the call is given up, instead of a timeout.")
    persistent: Literal[False] | None = Field(default=None, description="Persistent calls are not kept here.")
