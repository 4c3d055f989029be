"""JSON about the server as a whole."""

from pydantic import Field

from bench.server.http.operator.schemas.common import Id, Json, Milliseconds, ThingsBoardModel


class SystemInfo(ThingsBoardModel):
    version: str = Field(examples=["4.3.1.3"])
    artifact: str
    name: str
    type: str = "CE"


class PasswordPolicy(ThingsBoardModel):
    """The rules for passwords; None where there is none."""

    minimum_length: int
    maximum_length: int
    minimum_uppercase_letters: int | None = None
    minimum_lowercase_letters: int | None = None
    minimum_digits: int | None = None
    minimum_special_characters: int | None = None
    allow_whitespaces: bool = True
    force_user_to_reset_password_if_not_valid: bool = False
    password_expiration_period_days: int | None = None
    password_reuse_frequency_days: int | None = None


class TenantJson(ThingsBoardModel):
    id: Id
    created_time: Milliseconds
    title: str
    name: str
    region: str | None = None
    tenant_profile_id: Id
    country: str | None = None
    state: str | None = None
    city: str | None = None
    address: str | None = None
    address2: str | None = None
    zip: str | None = None
    phone: str | None = None
    email: str | None = None
    additional_info: Json = None
    version: int = 1


class TenantInfo(TenantJson):
    tenant_profile_name: str


class UsageInfo(ThingsBoardModel):
    """Numbers of entities, and how many there may be; of what does not exist here 0."""

    devices: int
    max_devices: int = 0
    assets: int = 0
    max_assets: int = 0
    customers: int
    max_customers: int = 0
    users: int
    max_users: int = 0
    dashboards: int = 0
    max_dashboards: int = 0
    edges: int = 0
    max_edges: int = 0
    transport_messages: int = Field(default=0, description="Not counted.")
    max_transport_messages: int = 0
    js_executions: int = 0
    tbel_executions: int = 0
    max_js_executions: int = 0
    max_tbel_executions: int = 0
    emails: int = 0
    max_emails: int = 0
    sms: int = 0
    max_sms: int = 0
    sms_enabled: bool = False
    alarms: int = 0
    max_alarms: int = 0
