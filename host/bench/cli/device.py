"""`bench device`: the devices the server knows."""

from typing import Annotated, Any

import typer

from bench.cli import output
from bench.cli.output import DEFAULT_DATA, Data, Json
from bench.cli.records import with_registry
from bench.registry import DeviceView

app = typer.Typer(help="Devices the server knows.", no_args_is_help=True)

Secrets = Annotated[bool, typer.Option("--show-secrets", help="Show the access token, or whatever it logs in with.")]


def _view(device: DeviceView, *, show_secrets: bool) -> dict[str, Any]:
    return {
        "name": device.name,
        "profile": device.profile,
        "created": output.moment(device.created_ms),
        "credentialsType": device.credentials.type.value,
        "credentials": device.credentials.answer if show_secrets else "(hidden: --show-secrets)",
        "attributes": device.attributes,
        "telemetry": device.telemetry,
    }


@app.command("list", epilog="Example: bench device list --json")
def list_devices(as_json: Json = False, data: Data = DEFAULT_DATA) -> None:
    """List the devices."""
    devices = with_registry(data, lambda registry: registry.devices())
    rows = [{"name": each.name, "profile": each.profile, "created": output.moment(each.created_ms)} for each in devices]
    output.table(rows, as_json=as_json, empty="No devices yet: boot a board, or bench device create NAME.")


@app.command(epilog="Example: bench device show firstboot-0242ac110002")
def show(name: str, show_secrets: Secrets = False, as_json: Json = False, data: Data = DEFAULT_DATA) -> None:
    """Show a device with its attributes and latest telemetry."""
    device = with_registry(data, lambda registry: registry.device(name))
    output.facts(_view(device, show_secrets=show_secrets), as_json=as_json)


@app.command(epilog="Example: bench device create press-4 --profile tray7")
def create(
    name: str,
    profile: Annotated[str, typer.Option(help="The profile it belongs to.")] = "default",
    as_json: Json = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Make a device ahead of its first boot, with a random access token.

    A board of this name gets these credentials if its profile's strategy is CHECK_PRE_PROVISIONED_DEVICES.
    """
    device = with_registry(data, lambda registry: registry.create_device(name, profile))
    output.facts(_view(device, show_secrets=False), as_json=as_json)


@app.command(epilog="Example: bench device delete firstboot-0242ac110002")
def delete(name: str, data: Data = DEFAULT_DATA) -> None:
    """Delete a device, so that a board of its name can provision anew."""
    with_registry(data, lambda registry: registry.delete_device(name))
    output.console.print(f"deleted {name}")
