"""ThingsBoard's JSON, as operators' clients send it and get it back.

What is sent may have more fields than are listed here: clients send back what they were given.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bench.contract.credentials import CredentialsType
from bench.registry.provision_type import ProvisionType

T = TypeVar("T")

# Stands for no entity where ThingsBoard's JSON wants one (EntityId.NULL_UUID).
NOBODY = UUID("13814000-1dd2-11b2-8080-808080808080")

Milliseconds = Annotated[int, Field(description="Milliseconds since the epoch.", examples=[1735689600000])]
Json = Annotated[Any, Field(description="Any JSON.")]
TransportType = Literal["DEFAULT", "MQTT", "COAP", "LWM2M", "SNMP"]


def _is_none(value: object) -> bool:
    return value is None


class Form(BaseModel):
    """An object with ThingsBoard's names in its JSON."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class Id(Form):
    """An entity's kind and id."""

    entity_type: str = Field(default="", examples=["DEVICE"])
    id: UUID


class PageData(Form, Generic[T]):
    """A page of a list."""

    data: list[T]
    total_pages: int
    total_elements: int
    has_next: bool


class ErrorAnswer(Form):
    """What every error looks like."""

    status: int = Field(description="The HTTP status.", examples=[400])
    message: str
    error_code: int = Field(
        description="10 not logged in, 11 token expired, 20 not allowed, 31 bad request, 32 not found, "
        "33 too many requests, 35 somebody else was faster.",
        examples=[31],
    )
    timestamp: Milliseconds


# Logging in.


class LoginForm(Form):
    username: str = Field(examples=["operator@firstboot.local"])
    password: str = Field(json_schema_extra={"format": "password"})


class RefreshForm(Form):
    refresh_token: str


class JwtPair(Form):
    """An access token, and what it is renewed with."""

    token: str
    refresh_token: str


class PasswordForm(Form):
    current_password: str
    new_password: str


class ActivateForm(Form):
    activate_token: str
    password: str


# Profiles.


class ProvisionConfiguration(Form):
    """How devices provision. For X509_CERTIFICATE_CHAIN the secret is the certificates, as PEM."""

    model_config = ConfigDict(extra="allow")

    type: ProvisionType
    provision_device_secret: str | None = Field(default=None, repr=False)
    certificate_reg_ex_pattern: str | None = Field(default=None, exclude_if=_is_none)
    allow_create_new_devices_by_x509_certificate: bool | None = Field(
        default=None, alias="allowCreateNewDevicesByX509Certificate", exclude_if=_is_none
    )


class ProfileData(Form):
    """What depends on the kinds of profile. Alarm rules and the like are kept and given back."""

    model_config = ConfigDict(extra="allow")

    configuration: dict[str, Json] | None = None
    transport_configuration: dict[str, Json] | None = None
    provision_configuration: ProvisionConfiguration | None = None


class ProfileForm(Form):
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


class ProfileInfo(Form):
    """A device profile, in short."""

    id: Id
    tenant_id: Id
    name: str
    image: Json = None
    default_dashboard_id: Json = None
    type: str = "DEFAULT"
    transport_type: str


class EntityInfo(Form):
    id: Id
    name: str


# Devices.


class DeviceForm(Form):
    """A device to be created, or to be changed if it has an id."""

    id: Id | None = None
    name: str = Field(examples=["press-4"])
    type: str | None = Field(default=None, description="The name of its profile, if it is not given by its id.")
    label: str | None = Field(default=None, max_length=255)
    device_profile_id: Id | None = None
    additional_info: dict[str, Json] | None = None


class DeviceJson(Form):
    """A device."""

    id: Id
    created_time: Milliseconds
    tenant_id: Id
    customer_id: Id
    name: str
    type: str
    label: str | None
    device_profile_id: Id
    device_data: dict[str, Json] = {
        "configuration": {"type": "DEFAULT"},
        "transportConfiguration": {"type": "DEFAULT"},
    }
    firmware_id: Json = None
    software_id: Json = None
    additional_info: dict[str, Json] | None


class DeviceInfo(DeviceJson):
    """A device, and what it belongs to."""

    customer_title: str | None
    customer_is_public: bool = False
    device_profile_name: str
    active: bool = Field(description="Whether the device has a session now.")


class CredentialsForm(Form):
    """What a device logs in with."""

    device_id: Id | None = None
    credentials_type: CredentialsType
    credentials_id: str | None = Field(default=None, repr=False, description="The access token.")
    credentials_value: str | None = Field(
        default=None,
        repr=False,
        description="X509_CERTIFICATE: the certificate. MQTT_BASIC: an object of clientId, userName and password, "
        "as JSON in a string.",
    )


class CredentialsJson(Form):
    """What a device logs in with."""

    id: Id
    created_time: Milliseconds
    device_id: Id
    credentials_type: CredentialsType
    credentials_id: str = Field(repr=False)
    credentials_value: str | None = Field(repr=False)


class DeviceWithCredentialsForm(Form):
    device: DeviceForm
    credentials: CredentialsForm


class EntitySubtype(Form):
    tenant_id: Id
    entity_type: str = "DEVICE"
    type: str


class ClaimForm(Form):
    secret_key: str | None = Field(default=None, repr=False)


class ClaimAnswer(Form):
    device: DeviceJson
    response: str


# Attributes and telemetry.


class AttributeJson(Form):
    last_update_ts: Milliseconds
    key: str
    value: Json


class EntryJson(Form):
    """An entry of a series."""

    ts: Milliseconds
    value: Json


class RpcForm(Form):
    """A call of a device."""

    method: str = Field(examples=["setGpio"])
    params: Json = Field(default=None, examples=[{"pin": 7, "value": 1}])
    timeout: int | None = Field(
        default=None, ge=0, le=86_400_000, description="Milliseconds; at least 5000 count.", examples=[5000]
    )
    persistent: Literal[False] | None = Field(default=None, description="Persistent calls are not kept here.")


# Bulk import.

ColumnType = Literal[
    "NAME",
    "TYPE",
    "LABEL",
    "SHARED_ATTRIBUTE",
    "SERVER_ATTRIBUTE",
    "TIMESERIES",
    "ACCESS_TOKEN",
    "X509",
    "MQTT_CLIENT_ID",
    "MQTT_USER_NAME",
    "MQTT_PASSWORD",
    "LWM2M_CLIENT_ENDPOINT",
    "LWM2M_CLIENT_SECURITY_CONFIG_MODE",
    "LWM2M_CLIENT_IDENTITY",
    "LWM2M_CLIENT_KEY",
    "LWM2M_CLIENT_CERT",
    "LWM2M_BOOTSTRAP_SERVER_SECURITY_MODE",
    "LWM2M_BOOTSTRAP_SERVER_PUBLIC_KEY_OR_ID",
    "LWM2M_BOOTSTRAP_SERVER_SECRET_KEY",
    "LWM2M_SERVER_SECURITY_MODE",
    "LWM2M_SERVER_CLIENT_PUBLIC_KEY_OR_ID",
    "LWM2M_SERVER_CLIENT_SECRET_KEY",
    "SNMP_HOST",
    "SNMP_PORT",
    "SNMP_VERSION",
    "SNMP_COMMUNITY_STRING",
    "IS_GATEWAY",
    "DESCRIPTION",
    "ROUTING_KEY",
    "SECRET",
]


class Column(Form):
    type: ColumnType
    key: str | None = Field(default=None, description="The name of the attribute or series.")


class Mapping(Form):
    columns: list[Column]
    delimiter: str = Field(default=",", pattern='^[^"\\r\\n]$')
    header: bool = True
    update: bool = Field(default=False, description="Whether devices that exist get attributes and telemetry too.")


class ImportForm(Form):
    file: str = Field(repr=False, description="CSV text.", examples=["NAME,TYPE\npress-4,press\n"])
    mapping: Mapping


class ImportResult(Form):
    created: int
    updated: int
    errors: int
    errors_list: list[str] = Field(examples=[["Line 2: Device name should be specified!"]])


# Customers, users, the audit trail.


class CustomerForm(Form):
    """A customer to be created, or to get another title if it has an id."""

    id: Id | None = None
    title: str = Field(examples=["Acme"])


class CustomerJson(Form):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    title: str
    name: str


class UserForm(Form):
    """An account to be created."""

    email: str = Field(examples=["jo@example.com"])
    authority: Literal["TENANT_ADMIN", "CUSTOMER_USER"]
    customer_id: Id | None = None


class UserJson(Form):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    customer_id: Id
    email: str
    name: str
    authority: Literal["TENANT_ADMIN", "CUSTOMER_USER"]


class AuditJson(Form):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    entity_name: str
    user_name: str
    action_type: str = Field(examples=["ADDED"])
    action_status: Literal["SUCCESS", "FAILURE"]
    action_data: dict[str, str]
    action_failure_details: str | None
