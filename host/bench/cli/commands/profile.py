"""`bench profile`: device profiles."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.errors import UsageError
from bench.input_files import pem
from bench.registry.names import random_text
from bench.registry.provision_type import ProvisionType
from bench.rest_client import ThingsBoard

app = App(help="Device profiles: which devices may provision, and how.", epilog="Example: bench profile show default")

Secrets = Annotated[bool, typer.Option("--show-secrets", help="Show the provisioning secret.")]
_CHAIN = ProvisionType.X509_CERTIFICATE_CHAIN


def view(profile: dict[str, Any], *, show_secrets: bool) -> dict[str, Any]:
    """Return a profile for output."""
    configuration = (profile.get("profileData") or {}).get("provisionConfiguration") or {}
    secret = configuration.get("provisionDeviceSecret") or ""
    found = {
        "name": profile["name"],
        "provision_type": profile.get("provisionType"),
        "provision_device_key": profile.get("provisionDeviceKey"),
        "provision_device_secret": secret if show_secrets or not secret else "(hidden: --show-secrets)",
        "created": tables.utc_time(profile["createdTime"]),
    }
    if profile.get("provisionType") == _CHAIN:
        found["certificate_pattern"] = configuration.get("certificateRegExPattern")
        found["allow_create"] = configuration.get("allowCreateNewDevicesByX509Certificate")
    return found


@app.command(epilog="Example: bench profile create tray7 --strategy CHECK_PRE_PROVISIONED_DEVICES")
@with_server(create=True)
async def create(
    server: ThingsBoard,
    name: str,
    strategy: Annotated[
        ProvisionType, typer.Option(help="Which devices it provisions.")
    ] = ProvisionType.ALLOW_CREATE_NEW_DEVICES,
    certificate: Annotated[
        Path | None, typer.Option(help=f"With {_CHAIN}: the CA certificate that signs the devices', PEM or DER.")
    ] = None,
    name_pattern: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help=f"With {_CHAIN}: a regular expression for the common name; its first group is the device's name.",
        ),
    ] = "(.*)",
    allow_create: Annotated[
        bool, typer.Option("--allow-create", help=f"With {_CHAIN}: make devices that are not there yet.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a profile with a random key and secret, or for certificate chains."""
    if (strategy is _CHAIN) != (certificate is not None):
        raise UsageError(f"--certificate FILE and --strategy {_CHAIN} go together")
    if certificate is not None:
        profile = await server.create_profile(
            name,
            strategy,
            key=None,
            secret=pem.encode(*pem.certificates(certificate)),
            certificateRegExPattern=name_pattern,
            allowCreateNewDevicesByX509Certificate=allow_create,
        )
    elif strategy is ProvisionType.DISABLED:
        profile = await server.create_profile(name, strategy, key=None, secret=None)
    else:
        profile = await server.create_profile(name, strategy, key=random_text(), secret=random_text())
    tables.facts(view(profile, show_secrets=False), as_json=as_json)


@app.command("list", epilog="Example: bench profile list --json")
@with_server()
async def list_profiles(server: ThingsBoard, as_json: Json = False) -> None:
    """List the profiles."""
    rows = [view(profile, show_secrets=False) for profile in await server.profiles()]
    columns = ("name", "provision_type", "provision_device_key", "created")
    tables.table(
        [{key: row[key] for key in columns} for row in rows],
        as_json=as_json,
        empty="No profiles yet: start bench serve, or use bench profile create NAME.",
    )


@app.command(epilog="Example: bench profile show default --show-secrets")
@with_server()
async def show(server: ThingsBoard, name: str, show_secrets: Secrets = False, as_json: Json = False) -> None:
    """Show a profile."""
    tables.facts(view(await server.profile(name), show_secrets=show_secrets), as_json=as_json)


@app.command(epilog="Example: bench profile delete tray7")
@with_server()
async def delete(server: ThingsBoard, name: str) -> None:
    """Delete a profile that has no devices."""
    await server.delete_profile(name)
    tables.echo(f"deleted {name}")
