"""JSON of devices, their credentials and claims."""

from pydantic import Field

from bench.contract.credentials import CredentialsType
from bench.server.http.operator.schemas.common import (
    BareId,
    CustomerRef,
    DeviceRef,
    Id,
    Json,
    Milliseconds,
    PackageRef,
    ProfileRef,
    Text,
    ThingsBoardModel,
    Version,
)

DEVICE_DATA: dict[str, Json] = {"configuration": {"type": "DEFAULT"}, "transportConfiguration": {"type": "DEFAULT"}}


class DeviceForm(ThingsBoardModel):
    """A device to be created, or to be changed as a whole if it has an id: what is left out is unset."""

    id: DeviceRef | None = None
    customer_id: CustomerRef | None = Field(default=None, description="Who has it; without one nobody.")
    name: Text | None = Field(default=None, examples=["press-4"])
    type: Text | None = Field(default=None, description="The name of its profile, if it is not given by its id.")
    label: Text | None = None
    device_profile_id: ProfileRef | None = None
    device_data: dict[str, Json] | None = None
    firmware_id: PackageRef | None = Field(default=None, description="Its own, in the place of its profile's.")
    software_id: PackageRef | None = None
    additional_info: Json = Field(
        default=None,
        description="Anything. Where the profile's template requires fields, `fields` in it has values of them, and is "
        "not stored here; `null`: not known yet.",
    )
    version: Version = None


class DeviceJson(ThingsBoardModel):
    """A device."""

    id: Id
    created_time: Milliseconds
    tenant_id: Id
    customer_id: Id
    name: str
    type: str
    label: str | None
    device_profile_id: Id
    device_data: dict[str, Json] = Field(default=DEVICE_DATA)
    firmware_id: Id | None = None
    software_id: Id | None = None
    external_id: Json = None
    version: int
    additional_info: Json


class DeviceInfo(DeviceJson):
    """A device, and what it belongs to."""

    customer_title: str | None
    customer_is_public: bool = False
    device_profile_name: str
    active: bool = Field(description="Whether the device has a session now.")


class CredentialsForm(ThingsBoardModel):
    """New credentials of a device."""

    id: BareId | None = Field(default=None, description="Of its credentials so far: they are replaced.")
    device_id: DeviceRef | None = None
    credentials_type: CredentialsType
    credentials_id: Text | None = Field(default=None, repr=False, description="The access token.")
    credentials_value: Text | None = Field(
        default=None,
        repr=False,
        description="X509_CERTIFICATE: the certificate. MQTT_BASIC: an object of clientId, userName and password, "
        "as JSON in a string. LWM2M_CREDENTIALS: an object of client and bootstrap, as JSON in a string.",
    )
    version: Version = None


class CredentialsJson(ThingsBoardModel):
    """The credentials of a device."""

    id: BareId
    created_time: Milliseconds
    device_id: Id
    credentials_type: CredentialsType
    credentials_id: str = Field(repr=False)
    credentials_value: str | None = Field(repr=False)
    version: int


class DeviceWithCredentialsForm(ThingsBoardModel):
    device: DeviceForm
    credentials: CredentialsForm


class EntitySubtype(ThingsBoardModel):
    tenant_id: Id
    entity_type: str = "DEVICE"
    type: str


class ClaimForm(ThingsBoardModel):
    secret_key: Text | None = Field(default=None, repr=False)


class ClaimAnswer(ThingsBoardModel):
    device: DeviceJson
    response: str
