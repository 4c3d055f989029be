"""Routes that say how a device reaches this server."""

import json
import re
from typing import Annotated, Any

from fastapi import Path, Request, Response
from sqlalchemy.orm import Session

from bench.contract.credentials import CredentialsType
from bench.errors import NotFound, Refused
from bench.input_files import pem
from bench.registry import devices
from bench.registry.audit import Subject
from bench.registry.credentials import DeviceCredentials
from bench.registry.model import Device, Profile
from bench.server.endpoints import Endpoints
from bench.server.http.operator import access
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import SUCCESS, AnyAccount, AuthenticatedRoute, PublicRoute
from bench.server.http.operator.params import DeviceId
from bench.server.http.operator.publish_commands import CA_FILE, Target, publish_commands
from bench.server.mqtt.own_topics import OwnTopics

router = ApiRouter(AuthenticatedRoute, "devices")
public = ApiRouter(PublicRoute, "devices")

_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
_OVER_TLS = "mqtts"
_HIDDEN = "HIDDEN"


@router.get("/device-connectivity/{deviceId}", summary="Shell commands that publish a device's telemetry")
async def publishing(device_id: DeviceId, caller: AnyAccount, request: Request) -> dict[str, Any]:
    def read(session: Session) -> tuple[Device, Profile, DeviceCredentials]:
        device = caller.device(session, device_id)
        profile = session.get_one(Profile, device.profile_id)
        return device, profile, devices.credentials_of(session, device_id)

    target = _target(request)
    device, profile, own = await caller.read(read)
    if access.may_read_credentials(caller.roles):
        await caller.record("device.credentials_read", Subject.of(device), SUCCESS)
    else:
        own = _hidden(own)
    if target is None:
        return {}
    topics = OwnTopics.of(profile.details.get("profileData", {}).get("transportConfiguration", {}))
    return publish_commands(target, profile.transport_type, topics.telemetry, own)


def _hidden(own: DeviceCredentials) -> DeviceCredentials:
    """Return credentials of the same kind that open nothing: where the server listens is known to all."""
    match own.type:
        case CredentialsType.ACCESS_TOKEN:
            return DeviceCredentials(own.type, _HIDDEN, None)
        case CredentialsType.MQTT_BASIC:
            shown = {name: _HIDDEN for name, part in json.loads(own.value or "{}").items() if part}
            return DeviceCredentials(own.type, "", json.dumps(shown))
        case _:
            return own  # of which the commands have nothing


def _target(request: Request) -> Target | None:
    """Return this server by the name in the request; None if it does not listen at all."""
    endpoints: Endpoints | None = request.app.state.endpoints
    host = request.base_url.hostname or ""
    if not _HOST.fullmatch(f"[{host}]" if ":" in host else host):
        raise Refused("Invalid Host header!")
    if endpoints is None:
        return None
    return Target(base_url=str(request.base_url).rstrip("/"), host=host, ports=endpoints.ports)


@public.get(
    "/device-connectivity/{protocol}/certificate/download",
    summary="The certificate that clients of a protocol have to trust",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def certificate(protocol: Annotated[str, Path(examples=[_OVER_TLS])], request: Request) -> Response:
    endpoints: Endpoints | None = request.app.state.endpoints
    if endpoints is None or protocol != _OVER_TLS:
        raise NotFound(f"{protocol} pem cert file is not found!")
    identity = endpoints.identity()
    trusted = [identity.ca] if identity.ca else identity.chain
    headers = {"content-disposition": f"attachment;filename={CA_FILE}", "x-filename": CA_FILE}
    return Response(pem.encode(*trusted), media_type="application/octet-stream", headers=headers)
