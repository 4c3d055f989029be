"""JSON of logins, customers, users and the audit trail."""

from typing import Literal

from pydantic import Field

from bench.server.http.operator.schemas.common import Id, Milliseconds, ThingsBoardModel


class LoginForm(ThingsBoardModel):
    username: str = Field(examples=["operator@firstboot.local"])
    password: str = Field(json_schema_extra={"format": "password"})


class RefreshForm(ThingsBoardModel):
    refresh_token: str


class JwtPair(ThingsBoardModel):
    """An access token, and what it is renewed with."""

    token: str
    refresh_token: str


class PasswordForm(ThingsBoardModel):
    current_password: str
    new_password: str


class ActivateForm(ThingsBoardModel):
    activate_token: str
    password: str


class CustomerForm(ThingsBoardModel):
    """A customer to be created, or to get another title if it has an id."""

    id: Id | None = None
    title: str = Field(examples=["Acme"])


class CustomerJson(ThingsBoardModel):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    title: str
    name: str


class UserForm(ThingsBoardModel):
    """An account to be created."""

    email: str = Field(examples=["jo@example.com"])
    authority: Literal["TENANT_ADMIN", "CUSTOMER_USER"]
    customer_id: Id | None = None


class UserJson(ThingsBoardModel):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    customer_id: Id
    email: str
    name: str
    authority: Literal["TENANT_ADMIN", "CUSTOMER_USER"]


class AuditJson(ThingsBoardModel):
    id: Id
    created_time: Milliseconds
    tenant_id: Id
    entity_name: str
    user_name: str
    action_type: str = Field(examples=["ADDED"])
    action_status: Literal["SUCCESS", "FAILURE"]
    action_data: dict[str, str]
    action_failure_details: str | None
