"""JSON of a device's life."""

from pydantic import Field

from bench.registry.device_states import Access, ProvisioningState, Status
from bench.server.http.operator.schemas.common import Milliseconds, Text, ThingsBoardModel


class SerialNumberForm(ThingsBoardModel):
    serial_number: Text | None = Field(description="Without one the device has none.", examples=["SN-0042"])


class LifecycleJson(ThingsBoardModel):
    """The life of a device: its steps with their times, its status, and its rights."""

    serial_number: str | None
    provisioning_state: ProvisioningState
    defined_time: Milliseconds
    activated_time: Milliseconds | None
    provisioned_time: Milliseconds | None
    associated_time: Milliseconds | None
    connectivity_status: Status
    access: Access
    deactivated_time: Milliseconds | None
    decommissioned_time: Milliseconds | None
    wipe_pending: bool = Field(description="Whether the order to wipe itself has not reached the device yet.")
