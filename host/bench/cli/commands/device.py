"""`bench device`: the devices on the server."""

import itertools
import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import import_lines, rotation
from bench.cli.commands import device_fields, device_life
from bench.cli.options import keyboard, text_files
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.errors import BenchError, NotFound, UsageError
from bench.input_files import pem
from bench.rest_client import NoAnswer, ThingsBoard, attempted, id_of, in_parallel
from bench.server import json_reader

app = App(help="Devices on the server.", epilog="Example: bench device show press-4")
# Names that are listed one by one.
_FEW = 5

Secrets = Annotated[bool, typer.Option("--show-secrets", help="Show the access token, or other credentials.")]


class Scope(StrEnum):
    """A scope of attributes, as ThingsBoard names it."""

    CLIENT_SCOPE = "CLIENT_SCOPE"
    SHARED_SCOPE = "SHARED_SCOPE"
    SERVER_SCOPE = "SERVER_SCOPE"


@app.command("list", epilog="Example: bench device list --search press --json")
@with_server()
async def list_devices(
    server: ThingsBoard,
    search: Annotated[str, typer.Option(help="Only devices with this text in their name, label or profile.")] = "",
    state: device_life.StateOption = None,
    status: device_life.StatusOption = None,
    serial_number: device_life.SerialOption = "",
    having: Annotated[
        list[str],
        typer.Option("--field", metavar="NAME=VALUE", help="Only devices with this value, their own or a default."),
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """List the devices. State, status, serial number and fields are bench serve's, and shown if one is asked for."""
    fields = device_fields.assignments("--field", having)
    if state or status or serial_number or fields:
        found = await device_life.rows(
            server, search, state=state, status=status, serial_number=serial_number, fields=fields
        )
        tables.table(found, as_json=as_json, empty="No such devices.")
        return
    rows = [
        {"name": each["name"], "profile": each["type"], "created": tables.utc_time(each["createdTime"])}
        for each in await server.devices(search)
    ]
    tables.table(rows, as_json=as_json, empty="No devices yet: boot a board, or bench device create NAME.")


@app.command(epilog="Example: bench device show firstboot-0242ac110002")
@with_server()
async def show(server: ThingsBoard, name: str, show_secrets: Secrets = False, as_json: Json = False) -> None:
    """Show a device with its attributes and latest telemetry."""
    tables.facts(await _view(server, await server.device(name), show_secrets=show_secrets), as_json=as_json)


async def _view(server: ThingsBoard, device: dict[str, Any], *, show_secrets: bool) -> dict[str, Any]:
    device_id = id_of(device)
    own = await server.credentials(device_id)
    secret = own["credentialsValue"] or own["credentialsId"]
    attributes = {scope.value: await server.attributes(device_id, scope) for scope in Scope}
    return {
        "name": device["name"],
        "profile": device["type"],
        **await device_life.view(server, device_id),
        **device_fields.view(await server.inherited(device_id)),
        "gateway": (device.get("additionalInfo") or {}).get("gateway") is True,
        "created": tables.utc_time(device["createdTime"]),
        "credentials_type": own["credentialsType"],
        "credentials": secret if show_secrets else "(hidden: --show-secrets)",
        "attributes": {scope: values for scope, values in attributes.items() if values},
        "telemetry": {key: value for key, (_, value) in (await server.latest(device_id)).items()},
    }


@app.command(epilog="Example: bench device create press-4 --profile tray7")
@with_server()
async def create(
    server: ThingsBoard,
    name: str,
    profile: Annotated[str, typer.Option(metavar="NAME", help="The profile it belongs to.")] = "default",
    label: Annotated[str, typer.Option(help="A label for people.")] = "",
    gateway: Annotated[bool, typer.Option("--gateway", help="It speaks for other devices, over MQTT.")] = False,
    serial_number: Annotated[str, typer.Option("--serial", help="The maker's number of it.")] = "",
    assign: device_fields.FieldOption = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Make a device before its first boot, with a random access token.

    A board of this name gets these credentials if its profile's strategy is CHECK_PRE_PROVISIONED_DEVICES.
    """
    values = await device_fields.values_for(server, profile, assign)
    device = await server.create_device(name, profile, label=label or None, gateway=gateway, fields=values)
    if serial_number:
        await server.set_serial_number(id_of(device), serial_number)
    tables.facts(await _view(server, device, show_secrets=False), as_json=as_json, done=f"created {name}")


@app.command(epilog="Example: bench device delete press-4 press-5")
@with_server()
async def delete(
    server: ThingsBoard,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="The devices.", show_default=False)
    ] = None,
    search: Annotated[str, typer.Option(help="All devices with this text in their name, label or profile.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Delete devices, so that boards of their names can provision again.

    On a terminal it asks first. Without one, several devices, or those of a search, need --yes.
    """
    if bool(names) == bool(search):
        raise UsageError("name the devices to delete, or find them with --search TEXT")
    if search:
        found = await server.devices(search)
    else:
        found = await in_parallel(dict.fromkeys(names or ()), server.device)
    if found and not yes:
        keyboard.confirm(_question(found), "nothing was deleted", may_skip=len(names or ()) == 1)
    with progress.counting(f"deleting {len(found):,} devices", quiet=as_json) as on_progress:
        done = itertools.count(1)
        errors = await attempted(
            found, lambda each: server.delete(id_of(each)), lambda: on_progress(next(done), len(found))
        )
    deleted = [each["name"] for each, error in zip(found, errors, strict=True) if error is None]
    if as_json:
        tables.print_json({"deleted": deleted})
    elif not found:
        tables.echo(f"no device has {search} in its name, label or profile: nothing was deleted")
    else:
        for each in deleted:
            tables.echo(f"deleted {each}")
    # one that is not there any more was deleted by somebody else meanwhile
    failed = [(each["name"], error) for each, error in zip(found, errors, strict=True) if error]
    if left := [f"{name}: {error}" for name, error in failed if not isinstance(error, NotFound)]:
        raise BenchError(f"not deleted: {'; '.join(left)}")


def _question(found: Sequence[dict[str, Any]]) -> str:
    names = ", ".join(each["name"] for each in found[:_FEW]) + (", ..." if len(found) > _FEW else "")
    what = "1 device" if len(found) == 1 else f"{len(found):,} devices"
    return f"Delete {what} with all values and credentials: {names}?"


@app.command(epilog="Example: bench device credentials press-4 --certificate press-4.pem")
@with_server()
async def credentials(
    server: ThingsBoard,
    name: str,
    certificate: Annotated[
        Path | None, typer.Option(help="The certificate that it logs in with, PEM or DER; of several, the first.")
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with its access token, or its MQTT password.")
    ] = None,
    mqtt_user: Annotated[str, typer.Option(help="Its MQTT user name, with or without a password.")] = "",
    mqtt_client_id: Annotated[str, typer.Option(help="Its MQTT client id.")] = "",
) -> None:
    """Change the credentials of a device. Secrets come from files, which keeps them out of the shell's history."""
    secret = text_files.read_value(secret_file) if secret_file else ""
    basic = bool(mqtt_user or mqtt_client_id)
    if (certificate is None) == (not basic and not secret_file):
        raise UsageError("give credentials: --certificate, --secret-file, or --mqtt-user/--mqtt-client-id")
    device_id = await server.device_id(name)
    if certificate is not None:
        await server.set_credentials(
            device_id, "X509_CERTIFICATE", credentialsValue=pem.encode(pem.certificates(certificate)[0])
        )
    elif basic:
        await server.set_credentials(
            device_id, "MQTT_BASIC", credentialsValue=rotation.basic_value(mqtt_client_id, mqtt_user, secret)
        )
    else:
        await server.set_credentials(device_id, "ACCESS_TOKEN", credentialsId=secret)
    tables.echo(f"changed the credentials of {name}; its sessions end")


@app.command(epilog="Example: bench device rotate press-4")
@with_server()
async def rotate(
    server: ThingsBoard,
    name: str,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", min=5, metavar="SECONDS", help="Longest wait; making a key takes a device a while."),
    ] = 60,
) -> None:
    """Have an online device choose new credentials, and save them on the server. Safe to repeat."""
    device_id = await server.device_id(name)
    try:
        with progress.waiting(f"waiting for {name} to choose its credentials, at most {timeout_s:g} s"):
            kind = await rotation.rotate(server, device_id, name, timeout_s)
    except NoAnswer:
        raise BenchError(
            f"{name} did not answer, and keeps its credentials: wait until it is online, then try again"
        ) from None
    tables.echo(f"changed the credentials of {name}: {kind}, chosen by the device; its sessions end")


@app.command(epilog="Example: bench device attributes press-4 --set interval=5 --delete old")
@with_server()
async def attributes(
    server: ThingsBoard,
    name: str,
    scope: Annotated[Scope, typer.Option(help="Shared ones are sent to the device.")] = Scope.SHARED_SCOPE,
    assign: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="An attribute to set; VALUE is JSON or text. Repeatable."),
    ] = [],  # noqa: B006
    delete_keys: Annotated[
        list[str], typer.Option("--delete", metavar="KEY", help="An attribute to delete. Repeatable.")
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Set and delete attributes of a device, and show those of a scope."""
    values = dict(map(_assignment, assign))
    device_id = await server.device_id(name)
    if delete_keys:
        there = await server.attributes(device_id, scope)
        if missing := sorted(set(delete_keys) - {*there, *values}):
            raise BenchError(f"{name} has no attribute {', '.join(missing)} in {scope.value}: nothing was changed")
    done = {"set": list(values), "deleted": delete_keys}
    if values:
        await server.set_attributes(device_id, scope, values)
    if delete_keys:
        await server.delete_attributes(device_id, scope, delete_keys)
    if not as_json:
        for what, keys in done.items():
            if keys:
                tables.echo(f"{what} {', '.join(keys)} of {name} in {scope.value}")
    found = await server.attributes(device_id, scope)
    rows = [{"key": key, "value": value} for key, value in found.items()]
    tables.table(rows, as_json=as_json, empty=f"{name} has no attributes in {scope.value}.")


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--set {text}: write KEY=VALUE")
    try:
        found = json.loads(value)
    except ValueError:
        found = value
    if isinstance(found, str) and (problem := import_lines.cast_problem(key, found, json_reader.stored(found))):
        raise UsageError(f"--set {problem}")
    return key, found
