"""Routes of templates: not ThingsBoard's, whose clients do not meet them."""

from fastapi import Request
from sqlalchemy.orm import Session

from bench.contract import templates as contract
from bench.registry import devices, profiles, templates
from bench.registry.model import Device, Profile
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Operator
from bench.server.http.operator.params import DeviceId, ProfileId
from bench.server.http.operator.schemas.templates import (
    FieldValueJson,
    InheritedJson,
    TemplateForm,
    TemplateJson,
    TopicsJson,
    ValuesForm,
)

router = ApiRouter(AuthenticatedRoute, "templates", "/template")


@router.get("/deviceProfile/{deviceProfileId}", summary="The template of a profile")
async def get(profile_id: ProfileId, caller: Operator) -> TemplateJson:
    return await caller.read(lambda session: TemplateJson.of(templates.of_profile(profiles.get(session, profile_id))))


@router.post(
    "/deviceProfile/{deviceProfileId}", summary="Replace the template of a profile: its devices show it at once"
)
async def save(profile_id: ProfileId, form: TemplateForm, caller: Operator) -> TemplateJson:
    def change(session: Session) -> tuple[Profile, TemplateJson]:
        profile, template = profiles.get(session, profile_id), contract.parse(form)
        templates.set_template(profile, template)
        return profile, TemplateJson.of(template)

    return await caller.change("profile.updated", profile_id, change)


@router.get("/device/{deviceId}", summary="What a device has by its template: values of fields, topics, telemetry")
async def inherited(device_id: DeviceId, caller: AnyUser, request: Request) -> InheritedJson:
    return await caller.read(lambda session: _inherited(session, caller.device(session, device_id), request))


@router.post("/device/{deviceId}/fields", summary="Change values that a device has of its own")
async def change_fields(device_id: DeviceId, form: ValuesForm, caller: Operator, request: Request) -> InheritedJson:
    def change(session: Session) -> tuple[Device, InheritedJson]:
        device = devices.get(session, device_id)
        templates.change_own(session, device, form)
        return device, _inherited(session, device, request)

    return await caller.change("device.updated", device_id, change)


def _inherited(session: Session, device: Device, request: Request) -> InheritedJson:
    profile = session.get_one(Profile, device.profile_id)
    template, own = templates.of_profile(profile), templates.own(device)
    values = contract.effective(template, own)
    shown = templates.shown(template, device)
    prefix: str = request.app.state.topic_prefix
    return InheritedJson(
        fields={
            name: FieldValueJson(type=each.type, value=values[name], own=name in shown, required=each.required)
            for name, each in template.fields.items()
        },
        hidden={name: value for name, value in own.items() if name not in shown},
        telemetry=TemplateJson.of(template).telemetry,
        topics=TopicsJson(**vars(templates.topics(prefix, profile.name, device.name, profile.template))),
    )
