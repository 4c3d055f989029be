"""JSON of device profiles."""

from typing import Literal

from pydantic import ConfigDict, Field

from bench.registry.provision_type import ProvisionType
from bench.server.http.operator.schemas.common import (
    Id,
    Json,
    Milliseconds,
    PackageRef,
    ProfileRef,
    Text,
    ThingsBoardModel,
    Version,
)

TransportType = Literal["DEFAULT", "MQTT", "COAP", "LWM2M", "SNMP"]
Severity = Literal["CRITICAL", "MAJOR", "MINOR", "WARNING", "INDETERMINATE"]


def _is_none(value: object) -> bool:
    return value is None


class ProvisionConfiguration(ThingsBoardModel):
    """The provisioning of devices. For X509_CERTIFICATE_CHAIN the secret is the certificates, as PEM."""

    type: ProvisionType
    provision_device_secret: Text | None = Field(default=None, repr=False)
    certificate_reg_ex_pattern: Text | None = Field(default=None, exclude_if=_is_none)
    allow_create_new_devices_by_x509_certificate: bool | None = Field(
        default=None, alias="allowCreateNewDevicesByX509Certificate", exclude_if=_is_none
    )


class TransportConfiguration(ThingsBoardModel):
    """The transport's settings: kept, and given back with ThingsBoard's defaults."""

    model_config = ConfigDict(extra="allow")

    type: TransportType


class AlarmCondition(ThingsBoardModel):
    model_config = ConfigDict(extra="allow")

    condition: list[Json]


class AlarmRule(ThingsBoardModel):
    model_config = ConfigDict(extra="allow")

    condition: AlarmCondition


class Alarm(ThingsBoardModel):
    """An alarm rule. Nothing here raises alarms; they are kept and given back."""

    model_config = ConfigDict(extra="allow")

    alarm_type: Text | None = None
    create_rules: dict[Severity, AlarmRule] | None = None
    clear_rule: AlarmRule | None = None


class ProfileData(ThingsBoardModel):
    """The data of a profile by its types."""

    configuration: dict[str, Json] | None = None
    transport_configuration: TransportConfiguration | None = None
    provision_configuration: ProvisionConfiguration | None = None
    alarms: list[Alarm] | None = None


class ProfileDetails(ThingsBoardModel):
    """Fields of a profile that are kept for clients."""

    description: Text | None = None
    image: Text | None = None
    default_rule_chain_id: Json = None
    default_dashboard_id: Json = None
    default_queue_name: Text | None = None
    default_edge_rule_chain_id: Json = None
    history_days: float | None = Field(
        default=None, ge=0, exclude_if=_is_none, description="Not ThingsBoard's. How long history is kept; 0: for ever."
    )
    history_mb: float | None = Field(
        default=None, ge=0, exclude_if=_is_none, description="Not ThingsBoard's. How much history is kept; 0: all."
    )


class ProfileForm(ProfileDetails):
    """A device profile to be created, or to be changed as a whole if it has an id."""

    id: ProfileRef | None = None
    name: Text | None = Field(default=None, examples=["press"])
    type: Literal["DEFAULT"] | None = None
    default: bool | None = None
    transport_type: TransportType | None = None
    provision_type: ProvisionType | None = None
    provision_device_key: Text | None = None
    profile_data: ProfileData | None = None
    firmware_id: PackageRef | None = Field(default=None, description="Of its devices that have none of their own.")
    software_id: PackageRef | None = None
    version: Version = None


class ProfileJson(ProfileDetails):
    """A device profile."""

    id: Id
    created_time: Milliseconds
    tenant_id: Id
    name: str
    type: str = "DEFAULT"
    default: bool
    transport_type: TransportType
    provision_type: ProvisionType
    provision_device_key: str | None
    profile_data: ProfileData
    firmware_id: Id | None = None
    software_id: Id | None = None
    external_id: Json = None
    version: int


class ProfileInfo(ThingsBoardModel):
    """A device profile, in short."""

    id: Id
    tenant_id: Id
    name: str
    image: Json = None
    default_dashboard_id: Json = None
    type: str = "DEFAULT"
    transport_type: str
