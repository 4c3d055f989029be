"""JSON of device profiles."""

from typing import Literal

from pydantic import ConfigDict, Field

from bench.registry.provision_type import ProvisionType
from bench.server.http.operator.schemas.common import Id, Json, Milliseconds, ThingsBoardModel

TransportType = Literal["DEFAULT", "MQTT", "COAP", "LWM2M", "SNMP"]


def _is_none(value: object) -> bool:
    return value is None


class ProvisionConfiguration(ThingsBoardModel):
    """The provisioning of devices. For X509_CERTIFICATE_CHAIN the secret is the certificates, as PEM."""

    model_config = ConfigDict(extra="allow")

    type: ProvisionType
    provision_device_secret: str | None = Field(default=None, repr=False)
    certificate_reg_ex_pattern: str | None = Field(default=None, exclude_if=_is_none)
    allow_create_new_devices_by_x509_certificate: bool | None = Field(
        default=None, alias="allowCreateNewDevicesByX509Certificate", exclude_if=_is_none
    )


class ProfileData(ThingsBoardModel):
    """The data of a profile by its types. Alarm rules and the like are kept and given back."""

    model_config = ConfigDict(extra="allow")

    configuration: dict[str, Json] | None = None
    transport_configuration: dict[str, Json] | None = None
    provision_configuration: ProvisionConfiguration | None = None


class ProfileForm(ThingsBoardModel):
    """A device profile to be created, or to be changed if it has an id."""

    model_config = ConfigDict(extra="allow")

    id: Id | None = None
    name: str = Field(examples=["press"])
    transport_type: TransportType | None = None
    provision_type: ProvisionType | None = None
    provision_device_key: str | None = Field(default=None, max_length=255)
    profile_data: ProfileData | None = None


class ProfileJson(ProfileForm):
    """A device profile."""

    id: Id
    created_time: Milliseconds
    tenant_id: Id
    type: str = "DEFAULT"
    default: bool
    description: Json = None
    image: Json = None
    default_rule_chain_id: Json = None
    default_dashboard_id: Json = None
    default_queue_name: Json = None
    default_edge_rule_chain_id: Json = None
    firmware_id: Json = None
    software_id: Json = None


class ProfileInfo(ThingsBoardModel):
    """A device profile, in short."""

    id: Id
    tenant_id: Id
    name: str
    image: Json = None
    default_dashboard_id: Json = None
    type: str = "DEFAULT"
    transport_type: str
