"""JSON of devices as a whole, as an export has them."""

from typing import Any

from pydantic import Field

from bench.contract.templates import Value
from bench.registry.device_states import Access
from bench.server.http.operator.schemas.common import Json, ThingsBoardModel


class RecordCredentials(ThingsBoardModel):
    credentials_type: str
    credentials_id: str = Field(repr=False)
    credentials_value: str | None = Field(repr=False)


class RecordJson(ThingsBoardModel):
    name: str
    label: str | None
    profile: str
    customer: str | None = Field(description="The title of its customer.")
    serial_number: str | None
    access: Access
    fields: dict[str, Value] = Field(description="Its own values of the fields of its profile's template.")
    additional_info: Json
    credentials: RecordCredentials | None = Field(default=None, description="Only if they are wanted.")
    attributes: dict[str, dict[str, Any]] = Field(description="By scope.")


class RecordPage(ThingsBoardModel):
    """Devices by name. The next page is after the last one's; there is none if there are no more left."""

    devices: list[RecordJson]
    left: int = Field(description="How many devices there are from here on, these among them.")
