"""JSON of attributes, time series and calls."""

from uuid import UUID

from pydantic import Field

from bench.registry.calls import CallStatus
from bench.server.http.operator.schemas.common import Id, Json, Milliseconds, ThingsBoardModel


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
    persistent: bool | None = Field(
        default=None, description="Keep the call until the device is there; the answer is its rpcId."
    )
    retries: int | None = Field(
        default=None, description="How often a persistent call that is not acknowledged is sent again; 5 at most."
    )
    additional_info: Json = Field(default=None, description="Kept with a persistent call.")
    request_uuid: UUID | None = Field(default=None, alias="requestUUID", description="The rpcId; random without it.")


class RpcIdJson(ThingsBoardModel):
    """The answer to a persistent call."""

    rpc_id: UUID


class RpcBodyJson(ThingsBoardModel):
    """A method and its parameters, which are JSON in a text."""

    method: str
    params: str


class RpcRequestJson(ThingsBoardModel):
    """A persistent call as it was requested."""

    id: UUID
    tenant_id: Id
    device_id: Id
    oneway: bool
    expiration_time: Milliseconds
    body: RpcBodyJson
    persisted: bool = True
    retries: int | None


class RpcJson(ThingsBoardModel):
    """A persistent call."""

    id: Id
    created_time: Milliseconds
    tenant_id: Id
    device_id: Id
    expiration_time: Milliseconds
    request: RpcRequestJson
    response: Json
    status: CallStatus
    additional_info: Json
