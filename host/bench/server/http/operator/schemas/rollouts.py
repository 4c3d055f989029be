"""JSON of rollouts: not ThingsBoard's, which assigns a package to all devices of a profile at once."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from bench.registry.packages import Kind
from bench.registry.rollout_states import DeviceState, RolloutState
from bench.registry.rollouts import AT_MOST
from bench.server.http.operator.schemas.common import Milliseconds, ThingsBoardModel

_DAY_S = 86_400
_MOST = 1_000_000
_ATTRIBUTES = 16
_LONGEST = 255

_Name = Annotated[str, Field(min_length=1, max_length=_LONGEST)]
_Text = Annotated[StrictStr, Field(max_length=_LONGEST)]
_Value = StrictBool | StrictInt | StrictFloat | _Text


class RolloutForm(ThingsBoardModel):
    package_id: UUID
    device_profile_id: UUID = Field(description="The profile whose devices are to have the package.")
    attributes: dict[_Name, _Value] = Field(
        default_factory=dict,
        max_length=_ATTRIBUTES,
        description="Only devices that have these, in whatever scope.",
        examples=[{"site": "hall 2"}],
    )
    canary: int = Field(default=5, ge=0, le=_MOST, description="Devices that have to be healthy before others.")
    at_most: int = Field(default=20, ge=1, le=AT_MOST, description="Devices under way at once.")
    rate_number: int = Field(default=60, ge=1, le=_MOST, description="Devices that begin in `rateSeconds`.")
    rate_seconds: int = Field(default=60, ge=1, le=_DAY_S)
    stop_percent: float | None = Field(
        default=2.0, gt=0, le=100, description="It stops at so many failures in a hundred, of five results or more."
    )
    stop_failures: int | None = Field(default=None, ge=1, le=_MOST, description="It stops at so many failures.")
    timeout_seconds: int = Field(
        default=1800, ge=1, le=30 * _DAY_S, description="From a device's assignment to its result."
    )
    then_profile: bool = Field(
        default=False, description="After a success of all devices their profile is assigned the package, too."
    )


class RolloutJson(ThingsBoardModel):
    id: UUID
    type: Kind
    title: str
    version: str
    package_id: UUID
    device_profile_id: UUID
    device_profile_name: str
    attributes: dict[str, bool | int | float | str]
    canary: int
    at_most: int
    rate_number: int
    rate_seconds: int
    stop_percent: float | None
    stop_failures: int | None
    timeout_seconds: int
    then_profile: bool
    state: RolloutState
    reason: str = Field(description="Why it was stopped.")
    created_time: Milliseconds
    last_sign_time: Milliseconds = Field(description="The last sign of a server that drives it, every ten seconds.")
    ended_time: Milliseconds | None = Field(description="Null while anything is to be done, or waited for.")
    devices: int = Field(description="All devices; the numbers below are those of them in each state.")
    pending: int
    updating: int
    updated: int
    failed: int
    left_out: int


class RolloutDeviceJson(ThingsBoardModel):
    id: UUID
    name: str
    state: DeviceState
    cause: str = Field(description="Why it failed, or was left out.")
    step: str = Field(description="The state that it reported last, while it is updating.", examples=["DOWNLOADING"])
    assigned_time: Milliseconds | None
    ended_time: Milliseconds | None
