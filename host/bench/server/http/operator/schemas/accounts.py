"""JSON of logins, customers, users and the audit trail."""

from typing import Literal

from pydantic import ConfigDict, Field

from bench.registry.roles import Role
from bench.server.http.operator.schemas.common import (
    ApiKeyRef,
    BareId,
    CustomerRef,
    Id,
    Json,
    Milliseconds,
    Text,
    ThingsBoardModel,
    UserRef,
    Version,
)

_INT64 = 1 << 63


class LoginForm(ThingsBoardModel):
    model_config = ConfigDict(extra="forbid")

    username: Text = Field(examples=["operator@firstboot.local"])
    password: Text = Field(json_schema_extra={"format": "password"})


class PublicLoginForm(ThingsBoardModel):
    public_id: Text = Field(description="The id of a customer whose devices everybody may see.")


class RefreshForm(ThingsBoardModel):
    refresh_token: str


class JwtPair(ThingsBoardModel):
    """An access token, and what it is renewed with."""

    token: str
    refresh_token: str


class PasswordForm(ThingsBoardModel):
    current_password: Text
    new_password: Text


class ActivateForm(ThingsBoardModel):
    activate_token: str
    password: Text


class CustomerDetails(ThingsBoardModel):
    """Fields of a customer that are kept for clients."""

    country: Text | None = None
    state: Text | None = None
    city: Text | None = None
    address: Text | None = None
    address2: Text | None = None
    zip: Text | None = None
    phone: Text | None = None
    email: Text | None = None
    additional_info: Json = None


class CustomerForm(CustomerDetails):
    """A customer to be created, or to be changed as a whole if it has an id."""

    id: CustomerRef | None = None
    title: Text | None = Field(default=None, examples=["Acme"])
    version: Version = None


class CustomerJson(CustomerDetails):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    title: str
    name: str
    external_id: Json = None
    version: int


class ShortCustomerInfo(ThingsBoardModel):
    title: str
    is_public: bool


class UserDetails(ThingsBoardModel):
    """Fields of a user that are kept for clients."""

    first_name: Text | None = None
    last_name: Text | None = None
    phone: Text | None = None
    additional_info: Json = None


class UserForm(UserDetails):
    """An account to be created, or to be changed as a whole if it has an id."""

    id: UserRef | None = None
    email: Text | None = Field(default=None, examples=["jo@example.com"])
    authority: Literal["TENANT_ADMIN", "CUSTOMER_USER"] | None = None
    customer_id: CustomerRef | None = None
    role: Role | None = Field(default=None, description="Of an operator; without one they may do everything.")
    version: Version = None


class UserJson(UserDetails):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    customer_id: Id
    email: str
    name: str
    authority: Literal["TENANT_ADMIN", "CUSTOMER_USER"]
    role: Role | None = Field(description="Of an operator. ThingsBoard has no such field.")
    version: int


class ApiKeyForm(ThingsBoardModel):
    """An API key to be made, or to be changed if it has an id: neither its user nor its role nor its end."""

    id: ApiKeyRef | None = None
    user_id: UserRef | None = None
    description: Text | None = Field(default=None, examples=["the build server"])
    enabled: bool = False
    expiration_time: int = Field(
        default=0, ge=-_INT64, lt=_INT64, description="Milliseconds since the epoch; 0 is never."
    )
    role: Role | None = Field(
        default=None, description="Beyond it the key may do nothing. ThingsBoard has no such field."
    )


class ApiKeyInfo(ThingsBoardModel):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    user_id: Id
    expiration_time: int
    description: str
    enabled: bool
    expired: bool
    role: Role


class ApiKeyJson(ApiKeyInfo):
    value: str | None = Field(description="The key, in the answer that makes it and never again.")


class AuditJson(ThingsBoardModel):
    id: BareId
    created_time: Milliseconds
    tenant_id: Id
    customer_id: Id
    entity_id: Id
    entity_name: str
    user_id: Id
    user_name: str
    action_type: str = Field(examples=["ADDED"])
    action_status: Literal["SUCCESS", "FAILURE"]
    action_data: dict[str, str]
    action_failure_details: str | None
