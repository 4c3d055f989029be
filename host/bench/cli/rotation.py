"""Rotation of a device's credentials: the device chooses new ones, and then the server gets them."""

import json
from typing import Any

from bench.errors import BenchError
from bench.rest_client import ThingsBoard

_METHOD = "rotateCredentials"


async def rotate(server: ThingsBoard, device_id: str, name: str, timeout_s: float) -> str:
    """Have an online device choose new credentials, save them, and return their type. Safe to repeat.

    The device keeps both until it has logged in with the new ones, so nothing is lost whatever is interrupted.

    Args:
        server: The server.
        device_id: The device.
        name: Its name, for messages.
        timeout_s: The longest wait for its answer, in seconds.

    Raises:
        NoAnswer: It is offline, and keeps its credentials.
        BenchError: Its answer has no credentials, or the server does not take them.
    """
    answer = await server.rpc(device_id, _METHOD, {}, oneway=False, timeout_s=timeout_s)
    kind, fields = _chosen(name, answer)
    await server.set_credentials(device_id, kind, **fields)
    return kind


def basic_value(client_id: str, user: str, password: str) -> str:
    """Return MQTT basic credentials as ThingsBoard stores them."""
    parts = {"clientId": client_id, "userName": user, "password": password}
    return json.dumps({key: each or None for key, each in parts.items()})


def _chosen(name: str, answer: Any) -> tuple[str, dict[str, str]]:
    """Return the credentials in a device's answer, as arguments of `ThingsBoard.set_credentials`."""
    match answer:
        case {"credentialsType": "ACCESS_TOKEN" as kind, "token": str(token)} if token:
            return kind, {"credentialsId": token}
        case {"credentialsType": "X509_CERTIFICATE" as kind, "hash": str(certificate)} if certificate:
            return kind, {"credentialsValue": certificate}
        case {"credentialsType": "MQTT_BASIC" as kind}:
            client_id, user, password = (answer.get(part) or "" for part in ("clientId", "username", "password"))
            if all(isinstance(each, str) for each in (client_id, user, password)) and (client_id or user):
                return kind, {"credentialsValue": basic_value(client_id, user, password)}
    raise BenchError(f"{name} answered without credentials, and keeps its own: its firmware must support rotation")
