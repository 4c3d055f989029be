"""JSON of devices, their credentials and claims."""

from pydantic import Field

from bench.contract.credentials import CredentialsType
from bench.server.http.operator.schemas.common import Id, Json, Milliseconds, ThingsBoardModel


class DeviceForm(ThingsBoardModel):
    """A device to be created, or to be changed if it has an id."""

    id: Id | None = None
    name: str = Field(examples=["press-4"])
    type: str | None = Field(default=None, description="The name of its profile, if it is not given by its id.")
    label: str | None = Field(default=None, max_length=255)
    device_profile_id: Id | None = None
    additional_info: dict[str, Json] | None = None


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
    device_data: dict[str, Json] = Field(
        default={"configuration": {"type": "DEFAULT"}, "transportConfiguration": {"type": "DEFAULT"}}
    )
    firmware_id: Json = None
    software_id: Json = None
    additional_info: dict[str, Json] | None


class DeviceInfo(DeviceJson):
    """A device, and what it belongs to."""

    customer_title: str | None
    customer_is_public: bool = False
    device_profile_name: str
    active: bool = Field(description="Whether the device has a session now.")


class CredentialsForm(ThingsBoardModel):
    """New credentials of a device."""

    device_id: Id | None = None
    credentials_type: CredentialsType
    credentials_id: str | None = Field(default=None, repr=False, description="The access token.")
    credentials_value: str | None = Field(
        default=None,
        repr=False,
        description="X509_CERTIFICATE: the certificate. MQTT_BASIC: an object of clientId, userName and password, "
        "as JSON in a string.",
    )


class CredentialsJson(ThingsBoardModel):
    """The credentials of a device."""

    id: Id
    created_time: Milliseconds
    device_id: Id
    credentials_type: CredentialsType
    credentials_id: str = Field(repr=False)
    credentials_value: str | None = Field(repr=False)


class DeviceWithCredentialsForm(ThingsBoardModel):
    device: DeviceForm
    credentials: CredentialsForm


class EntitySubtype(ThingsBoardModel):
    tenant_id: Id
    entity_type: str = "DEVICE"
    type: str


class ClaimForm(ThingsBoardModel):
    secret_key: str | None = Field(default=None, repr=False)


class ClaimAnswer(ThingsBoardModel):
    device: DeviceJson
    response: str
