"""JSON of group keys, and of what becomes of devices that provision again."""

from typing import Annotated

from pydantic import Field

from bench.registry.provision_type import Again
from bench.server.http.operator.schemas.common import Text, ThingsBoardModel

MOST_NAMES = 1000


class AgainForm(ThingsBoardModel):
    again: Again = Field(description="What becomes of a device that is there and provisions again, by a proof.")


class ProvisioningJson(AgainForm):
    has_group_key: bool = Field(description="Whether devices' own keys follow from a group key.")


class GroupKeyJson(ProvisioningJson):
    group_key: str = Field(description="Shown here, and never again.")


class DeviceNames(ThingsBoardModel):
    device_names: Annotated[list[Text], Field(min_length=1, max_length=MOST_NAMES)]


class DeviceKeys(ThingsBoardModel):
    device_keys: list[str] = Field(description="In the order of the names.")
