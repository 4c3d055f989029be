"""`bench profile`: who may provision, and how."""

from typing import Annotated, Any

import typer

from bench.cli import output
from bench.cli.output import DEFAULT_DATA, Data, Json
from bench.cli.records import with_registry
from bench.registry import ProfileView, ProvisionType

app = typer.Typer(help="Device profiles: who may provision, and how.", no_args_is_help=True)

Secrets = Annotated[bool, typer.Option("--show-secrets", help="Show the provisioning secret.")]


def view(profile: ProfileView, *, show_secrets: bool) -> dict[str, Any]:
    """A profile as it is printed."""
    return {
        "name": profile.name,
        "provisionType": profile.provision_type,
        "provisionDeviceKey": profile.provision_key,
        "provisionDeviceSecret": profile.provision_secret if show_secrets else "(hidden: --show-secrets)",
        "created": output.moment(profile.created_ms),
    }


@app.command(epilog="Example: bench profile create tray7 --strategy CHECK_PRE_PROVISIONED_DEVICES")
def create(
    name: str,
    strategy: Annotated[
        ProvisionType, typer.Option(help="What happens to a device that asks.")
    ] = ProvisionType.ALLOW_CREATE_NEW_DEVICES,
    as_json: Json = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Make a profile with a random key and secret."""
    profile = with_registry(data, lambda registry: registry.create_profile(name, strategy), create=True)
    output.facts(view(profile, show_secrets=False), as_json=as_json)


@app.command("list", epilog="Example: bench profile list --json")
def list_profiles(as_json: Json = False, data: Data = DEFAULT_DATA) -> None:
    """List the profiles."""
    profiles = with_registry(data, lambda registry: registry.profiles())
    rows = [view(profile, show_secrets=False) for profile in profiles]
    for row in rows:
        del row["provisionDeviceSecret"]
    output.table(
        rows, as_json=as_json, empty="No profiles yet: bench serve makes the first, or bench profile create NAME."
    )


@app.command(epilog="Example: bench profile show default --show-secrets")
def show(name: str, show_secrets: Secrets = False, as_json: Json = False, data: Data = DEFAULT_DATA) -> None:
    """Show a profile."""
    profile = with_registry(data, lambda registry: registry.profile(name))
    output.facts(view(profile, show_secrets=show_secrets), as_json=as_json)
