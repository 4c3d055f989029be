"""Django DeviceHub's way to give a device its credentials (`/api/things/...`)."""

from typing import Annotated

from fastapi import Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from bench.contract import issued
from bench.contract.broker_topics import Topics
from bench.contract.issued import IssuedCredentials
from bench.errors import NotFound
from bench.registry import devices, issuing, profiles, templates
from bench.registry.model import Device
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AuthenticatedRoute, Operator
from bench.server.http.operator.schemas.templates import TopicsJson
from bench.server.presence import SessionEnd

router = ApiRouter(AuthenticatedRoute, "Django DeviceHub")

_Type = Annotated[str, Path(description="The device's profile.")]
_Name = Annotated[str, Path(description="The device's name.")]


class DeviceHubCredentials(BaseModel):
    mqtt_username: str
    mqtt_password: str
    api_key: str = Field(description="In the place of an access token over HTTP. It cannot be read again.")


class DeviceHubAnswer(BaseModel):
    device_id: str
    credentials: DeviceHubCredentials
    topics: TopicsJson


@router.post(
    "/things/{device_type}/devices/{device_name}/provision/",
    summary="Give a device other credentials: the old ones are worth nothing then",
)
async def provision(device_type: _Type, device_name: _Name, caller: Operator, request: Request) -> DeviceHubAnswer:
    prefix: str = request.app.state.topic_prefix

    def change(session: Session) -> tuple[Device, tuple[IssuedCredentials, Topics]]:
        profile, device = profiles.by_name(session, device_type), devices.by_name(session, device_name)
        if device.profile_id != profile.id:
            raise NotFound(f"no device {device_name} of {device_type}")
        topics = templates.topics(prefix, profile.name, device.name, profile.template)
        return device, (issuing.issue(session, device, issued.username(device_type, device_name)), topics)

    made, topics = await caller.change("device.credentials_updated", device_name, change)
    device = await caller.read(devices.by_name, device_name)
    caller.api.presence.notify_session_end(device.id, SessionEnd.CREDENTIALS_CHANGED)
    return DeviceHubAnswer(
        device_id=device_name,
        credentials=DeviceHubCredentials(**vars(made)),
        topics=TopicsJson(**vars(topics)),
    )
