"""`bench device`: the devices the server knows."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options.operator_session import asks_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.rest_client import NoAnswer, ThingsBoard

app = typer.Typer(help="Devices the server knows.", no_args_is_help=True)

Secrets = Annotated[bool, typer.Option("--show-secrets", help="Show the access token, or whatever it logs in with.")]


class Scope(StrEnum):
    """Whose attributes."""

    CLIENT_SCOPE = "CLIENT_SCOPE"
    SHARED_SCOPE = "SHARED_SCOPE"
    SERVER_SCOPE = "SERVER_SCOPE"


@app.command("list", epilog="Example: bench device list --search press --json")
@asks_server()
async def list_devices(
    server: ThingsBoard,
    search: Annotated[str, typer.Option(help="Only those with this text in name, label or profile.")] = "",
    as_json: Json = False,
) -> None:
    """List the devices."""
    rows = [
        {"name": each["name"], "profile": each["type"], "created": tables.moment(each["createdTime"])}
        for each in await server.devices(search)
    ]
    tables.table(rows, as_json=as_json, empty="No devices yet: boot a board, or bench device create NAME.")


@app.command(epilog="Example: bench device show firstboot-0242ac110002")
@asks_server()
async def show(server: ThingsBoard, name: str, show_secrets: Secrets = False, as_json: Json = False) -> None:
    """Show a device with its attributes and latest telemetry."""
    tables.facts(await _view(server, await server.device(name), show_secrets=show_secrets), as_json=as_json)


async def _view(server: ThingsBoard, device: dict[str, Any], *, show_secrets: bool) -> dict[str, Any]:
    device_id = device["id"]["id"]
    own = await server.credentials(device_id)
    secret = own["credentialsValue"] or own["credentialsId"]
    attributes = {scope.value: await server.attributes(device_id, scope) for scope in Scope}
    return {
        "name": device["name"],
        "profile": device["type"],
        "created": tables.moment(device["createdTime"]),
        "credentialsType": own["credentialsType"],
        "credentials": secret if show_secrets else "(hidden: --show-secrets)",
        "attributes": {scope: values for scope, values in attributes.items() if values},
        "telemetry": {key: value for key, (_, value) in (await server.latest(device_id)).items()},
    }


@app.command(epilog="Example: bench device create press-4 --profile tray7")
@asks_server()
async def create(
    server: ThingsBoard,
    name: str,
    profile: Annotated[str, typer.Option(help="The profile it belongs to.")] = "default",
    label: Annotated[str, typer.Option(help="What people call it.")] = "",
    as_json: Json = False,
) -> None:
    """Make a device ahead of its first boot, with a random access token.

    A board of this name gets these credentials if its profile's strategy is CHECK_PRE_PROVISIONED_DEVICES.
    """
    device = await server.create_device(name, profile, label=label or None)
    tables.facts(await _view(server, device, show_secrets=False), as_json=as_json)


@app.command(epilog="Example: bench device delete firstboot-0242ac110002")
@asks_server()
async def delete(server: ThingsBoard, name: str) -> None:
    """Delete a device, so that a board of its name can provision anew."""
    await server.delete_device(name)
    tables.say(f"deleted {name}")


@app.command(epilog="Example: bench device credentials press-4 --certificate press-4.pem")
@asks_server()
async def credentials(
    server: ThingsBoard,
    name: str,
    certificate: Annotated[Path | None, typer.Option(help="It logs in with this certificate (PEM).")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="It logs in with the access token, or the MQTT password, in this file.")
    ] = None,
    mqtt_user: Annotated[str, typer.Option(help="With or without a password: its MQTT user name.")] = "",
    mqtt_client_id: Annotated[str, typer.Option(help="Its MQTT client id.")] = "",
) -> None:
    """Change what a device logs in with. Secrets come from files, so that no shell's history has them."""
    secret = secret_file.read_text().rstrip("\r\n") if secret_file else ""
    basic = bool(mqtt_user or mqtt_client_id)
    if (certificate is None) == (not basic and not secret_file):
        raise UsageError("name what it logs in with: --certificate, --secret-file, or --mqtt-user/--mqtt-client-id")
    device_id = await server.device_id(name)
    if certificate is not None:
        await server.set_credentials(device_id, "X509_CERTIFICATE", credentialsValue=certificate.read_text())
    elif basic:
        await server.set_credentials(
            device_id, "MQTT_BASIC", credentialsValue=_basic_value(mqtt_client_id, mqtt_user, secret)
        )
    else:
        await server.set_credentials(device_id, "ACCESS_TOKEN", credentialsId=secret)
    tables.say(f"changed what {name} logs in with; its sessions end")


def _basic_value(client_id: str, user: str, password: str) -> str:
    """MQTT basic credentials as ThingsBoard stores them."""
    parts = {"clientId": client_id, "userName": user, "password": password}
    return json.dumps({key: each or None for key, each in parts.items()})


@app.command(epilog="Example: bench device rotate press-4")
@asks_server()
async def rotate(
    server: ThingsBoard,
    name: str,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=5, help="Seconds to wait: a device that makes a key takes its time.")
    ] = 60,
) -> None:
    """Have a device that is online choose new credentials, and save them. To do it again does no harm."""
    device_id = await server.device_id(name)
    try:
        answer = await server.rpc(device_id, "rotateCredentials", {}, oneway=False, timeout_s=timeout_s)
    except NoAnswer:
        raise BenchError(
            f"{name} did not answer, and keeps its credentials: wait until it is online, then try again"
        ) from None
    kind, fields = _chosen(name, answer)
    await server.set_credentials(device_id, kind, **fields)
    tables.say(f"changed what {name} logs in with: {kind}, of its own choice; its sessions end")


def _chosen(name: str, answer: Any) -> tuple[str, dict[str, str]]:
    """The credentials in a device's answer, as `ThingsBoard.set_credentials` takes them."""
    match answer:
        case {"credentialsType": "ACCESS_TOKEN" as kind, "token": str(token)} if token:
            return kind, {"credentialsId": token}
        case {"credentialsType": "X509_CERTIFICATE" as kind, "hash": str(certificate)} if certificate:
            return kind, {"credentialsValue": certificate}
        case {"credentialsType": "MQTT_BASIC" as kind}:
            client_id, user, password = (answer.get(part) or "" for part in ("clientId", "username", "password"))
            if all(isinstance(each, str) for each in (client_id, user, password)) and (client_id or user):
                return kind, {"credentialsValue": _basic_value(client_id, user, password)}
    raise BenchError(f"{name} answered without credentials, and keeps its own: its firmware has to know how to rotate")


@app.command(epilog="Example: bench device attributes press-4 --set interval=5 --delete old")
@asks_server()
async def attributes(
    server: ThingsBoard,
    name: str,
    scope: Annotated[Scope, typer.Option(help="Shared ones are pushed to the device.")] = Scope.SHARED_SCOPE,
    assign: Annotated[list[str], typer.Option("--set", help="KEY=VALUE; JSON, or else text.")] = [],  # noqa: B006
    delete_keys: Annotated[list[str], typer.Option("--delete", help="KEY.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Show a device's attributes of a scope, after changing some."""
    values = dict(map(_assignment, assign))
    device_id = await server.device_id(name)
    if values:
        await server.set_attributes(device_id, scope, values)
    if delete_keys:
        await server.delete_attributes(device_id, scope, delete_keys)
    found = await server.attributes(device_id, scope)
    rows = [{"key": key, "value": value} for key, value in found.items()]
    tables.table(rows, as_json=as_json, empty=f"{name} has no attributes in {scope.value}.")


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--set takes KEY=VALUE, and {text} is none")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


@app.command(epilog="Example: bench device claim press-4 --secret-file secret.txt --url https://tb.example --user me@x")
@asks_server()
async def claim(
    server: ThingsBoard,
    name: str,
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with the device's claiming secret, if it has one.")
    ] = None,
) -> None:
    """Claim a device for the customer whose user you are."""
    secret = secret_file.read_text().rstrip("\r\n") if secret_file else ""
    answer = await server.claim(name, secret)
    if answer != "SUCCESS":
        raise UsageError(f"{name} was not claimed: {answer} (the secret is wrong or too old, or it is claimed already)")
    tables.say(f"claimed {name}")
