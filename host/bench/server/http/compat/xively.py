"""Xively's API of devices, their MQTT passwords, and association codes, at Xively's paths (`/api/v1/...`)."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from sqlalchemy.orm import Session

from bench.contract.naming import NumberedNames
from bench.contract.templates import Template, effective
from bench.errors import Refused
from bench.registry import associations, customers, devices, issuing, lifecycle, names, profiles, templates
from bench.registry.associations import InvalidCode
from bench.registry.model import Device
from bench.server import accounts
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AuthenticatedRoute, Caller, CustomerUser, Operator
from bench.server.http.operator.errors import Forbidden
from bench.server.http.operator.schemas.common import Milliseconds, Text, ThingsBoardModel
from bench.server.limits import Limited
from bench.server.presence import SessionEnd

router = ApiRouter(AuthenticatedRoute, "Xively")

_AccountId = Annotated[UUID, Field(description="The tenant's id, as in `tenantId` of `GET /api/auth/user`.")]
# Of a text that may be a code: as with its hyphens, and some spaces.
CODE_LIMIT = 64


class XivelyDeviceForm(ThingsBoardModel):
    """A device to be defined. Fields of its template come beside these, as Xively has them."""

    model_config = ConfigDict(extra="allow")

    account_id: _AccountId
    device_template_id: UUID | None = Field(default=None, description="Its profile; otherwise the default one.")
    serial_number: Text | None = Field(default=None, description="The maker's own: it may repeat.")
    name: Text | None = Field(default=None, description="Unless given, after its template's pattern, or its id.")


class XivelyDevice(ThingsBoardModel):
    """A device, with the values of its template's fields beside these."""

    model_config = ConfigDict(extra="allow")

    id: UUID
    account_id: UUID
    device_template_id: UUID
    serial_number: str | None
    name: str
    provisioning_state: str = Field(examples=["defined"])
    created: Milliseconds


class XivelyDeviceAnswer(ThingsBoardModel):
    device: XivelyDevice


class CredentialsForm(ThingsBoardModel):
    """A device that is to have another MQTT password."""

    account_id: _AccountId
    entity_id: UUID
    entity_type: Literal["device"]


class MqttCredential(CredentialsForm):
    secret: str = Field(description="The MQTT password. The user name is the device's id.")


class CredentialsAnswer(ThingsBoardModel):
    mqtt_credential: MqttCredential


class CodeForm(ThingsBoardModel):
    """A device that is to have an association code."""

    device_id: UUID
    duration_ms: int = Field(default=associations.DURATION_MS, ge=1, le=associations.LONGEST_MS)


class CodeAnswer(ThingsBoardModel):
    device_id: UUID
    association_code: str = Field(description="It cannot be read again.", examples=["7K3M-0QZ9-XW4T"])
    expires: Milliseconds


class AssociationForm(ThingsBoardModel):
    """A code from a device's label."""

    association_code: str = Field(max_length=CODE_LIMIT, examples=["7K3M-0QZ9-XW4T"])
    end_user_id: UUID | None = Field(default=None, description="The user who is logged in, and nobody else.")


class AssociationAnswer(ThingsBoardModel):
    device_id: UUID
    end_user_id: UUID
    provisioning_state: str = Field(examples=["associated"])


@router.post("/v1/devices", summary="Define a device", status_code=201)
async def define(form: XivelyDeviceForm, caller: Operator) -> XivelyDeviceAnswer:
    _check_account(caller, form.account_id)

    def change(session: Session) -> tuple[Device, XivelyDevice]:
        found = form.device_template_id
        profile = profiles.get(session, found) if found else profiles.default(session)
        template = templates.of_profile(profile)
        given = {name: value for name, value in (form.model_extra or {}).items() if name in template.fields}
        fields = templates.of_new_device(template, {name: each for name, each in given.items() if each is not None})
        name = form.name
        if not name and template.naming:
            name = issuing.next_name(session, NumberedNames(template.naming, profile.name))
        device = devices.create(
            session, name or names.random_text(), profile, serial_number=form.serial_number, fields=fields
        )
        if not name:
            devices.rename(session, device, str(device.id))
        return device, _json(caller, template, device)

    return XivelyDeviceAnswer(device=await caller.change("device.added", form.name or "", change))


@router.post(
    "/v1/access/mqtt-credentials", summary="Give a device another MQTT password: the old one is worth nothing then"
)
async def issue(form: CredentialsForm, caller: Operator) -> CredentialsAnswer:
    _check_account(caller, form.account_id)

    def change(session: Session) -> tuple[Device, str]:
        device = devices.get(session, form.entity_id)
        return device, issuing.issue_secret(session, device)

    secret = await caller.change("device.credentials_updated", form.entity_id, change)
    caller.api.presence.notify_session_end(form.entity_id, SessionEnd.CREDENTIALS_CHANGED)
    return CredentialsAnswer(mqtt_credential=MqttCredential(**vars(form), secret=secret))


@router.post("/v1/association/create-association-code", summary="Give a device a code that hands it over, once")
async def create_code(form: CodeForm, caller: Operator) -> CodeAnswer:
    def change(session: Session) -> tuple[Device, CodeAnswer]:
        device = devices.get(session, form.device_id)
        code, expires = associations.make(session, device, form.duration_ms)
        return device, CodeAnswer(device_id=device.id, association_code=code, expires=expires)

    return await caller.change("device.association_code_created", form.device_id, change)


@router.post("/v1/association/start-association-with-code", summary="Claim a device with the code on its label")
async def associate(form: AssociationForm, caller: CustomerUser) -> AssociationAnswer:
    if form.end_user_id not in (None, caller.user.id):
        raise Forbidden
    api, source, name = caller.api, caller.source, accounts.limited_name(f"code of {caller.user.email}")

    def change(session: Session) -> tuple[Device, AssociationAnswer]:
        assert caller.customer_id is not None
        device = associations.use(session, form.association_code, customers.get(session, caller.customer_id))
        state = lifecycle.provisioning_state(device).value
        return device, AssociationAnswer(device_id=device.id, end_user_id=caller.user.id, provisioning_state=state)

    try:
        api.limits.check(source.address, name, name, person=True)
        return await caller.change("device.associated", "", change)
    except Limited as error:
        api.refusals.log("limited", source, retry_after_s=error.retry_after_s)
        await caller.record_refusal("device.associated", "", "limited")
        raise
    except InvalidCode:
        api.limits.failed(source.address, name, name, person=True)
        raise


def _check_account(caller: Caller, account_id: UUID) -> None:
    if account_id != caller.tenant.id:
        raise Refused("accountId is not this account's: it is the tenantId of GET /api/auth/user")


def _json(caller: Caller, template: Template, device: Device) -> XivelyDevice:
    return XivelyDevice(
        **effective(template, templates.own(device)),
        id=device.id,
        account_id=caller.tenant.id,
        device_template_id=device.profile_id,
        serial_number=device.serial_number,
        name=device.name,
        provisioning_state=lifecycle.provisioning_state(device).value,
        created=device.created_ms,
    )
