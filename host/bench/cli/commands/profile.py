"""`bench profile`: device profiles."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli import file_kinds
from bench.cli.file_kinds import FileKind
from bench.cli.options import common, text_files
from bench.cli.options.common import Force
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.input_files import pem
from bench.registry.names import random_text
from bench.registry.provision_type import ProvisionType
from bench.rest_client import ThingsBoard, id_of, profile_files
from bench.rest_client.profile_files import Secret

app = App(help="Device profiles: which devices may provision, and how.", epilog="Example: bench profile show default")

Secrets = Annotated[bool, typer.Option("--show-secrets", help="Show the provisioning secret.")]
_HISTORY = ("historyDays", "historyMb")
_CHAIN = ProvisionType.X509_CERTIFICATE_CHAIN


def view(profile: dict[str, Any], *, show_secrets: bool, provisioning: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a profile for output; with what bench serve says of its group key, if that is given."""
    configuration = (profile.get("profileData") or {}).get("provisionConfiguration") or {}
    secret = configuration.get("provisionDeviceSecret") or ""
    found = {
        "name": profile["name"],
        "provision_type": profile.get("provisionType"),
        "provision_device_key": profile.get("provisionDeviceKey"),
        "provision_device_secret": secret if show_secrets or not secret else "(hidden: --show-secrets)",
        "created": tables.utc_time(profile["createdTime"]),
    }
    if provisioning is not None:
        found["has_group_key"], found["again"] = provisioning["hasGroupKey"], provisioning["again"]
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
    with_group_key: Annotated[
        bool, typer.Option("--group-key", help="Make a group key, too, and show it: as bench profile group-key does.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a profile with a random key and secret, or for certificate chains."""
    if (strategy is _CHAIN) != (certificate is not None):
        raise UsageError(f"--certificate FILE and --strategy {_CHAIN} go together")
    if with_group_key and strategy in {_CHAIN, ProvisionType.DISABLED}:
        raise UsageError(f"--group-key and --strategy {strategy} exclude each other: there are no devices' own keys")
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
    own = {"group_key": await server.replace_group_key(id_of(profile))} if with_group_key else {}
    tables.facts({**view(profile, show_secrets=False), **own}, as_json=as_json, done=f"created profile {name}")


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
    profile = await server.profile(name)
    provisioning = await server.provisioning(id_of(profile))
    tables.facts(view(profile, show_secrets=show_secrets, provisioning=provisioning), as_json=as_json)


@app.command(epilog="Example: bench profile history tray7 --days 30 --mb 200")
@with_server()
async def history(
    server: ThingsBoard,
    name: str,
    days: Annotated[
        float | None, typer.Option(min=0, help="Keep values for so many days. 0: for ever.", show_default="unchanged")
    ] = None,
    mb: Annotated[
        float | None,
        typer.Option(min=0, help="Keep so many MB of all its devices, the newest. 0: all.", show_default="unchanged"),
    ] = None,
    as_server: Annotated[bool, typer.Option("--as-server", help="Keep as much as bench serve is told to.")] = False,
    as_json: Json = False,
) -> None:
    """Show how long telemetry history of this profile's devices is kept, after changing it if asked to."""
    profile = await server.profile(name)
    wanted = {key: value for key, value in (("historyDays", days), ("historyMb", mb)) if value is not None}
    if wanted and as_server:
        raise UsageError("--as-server and --days or --mb exclude each other: leave one out")
    if wanted or as_server:
        own = {key: value for key, value in profile.items() if key not in _HISTORY or not as_server}
        profile = dict(await server.post("/api/deviceProfile", {**own, **wanted}))
        if any(profile.get(key) != value for key, value in wanted.items()):
            raise BenchError("this server keeps history by its own rules: see its tenant profile")
    shown = {"name": name, "history_days": profile.get("historyDays"), "history_mb": profile.get("historyMb")}
    if as_json:
        tables.print_json(shown)
    else:
        shown = {key: "as the server" if each is None else each for key, each in shown.items()}
        tables.facts(shown, as_json=False, done=f"changed profile {name}" if wanted or as_server else "")


Kept = Annotated[
    Secret, typer.Option(help="keep: the same key and secret; new: random ones; none: it provisions nobody.")
]


@app.command(epilog="Example: bench profile export tray7 tray7.json")
@with_server()
async def export(
    server: ThingsBoard,
    name: str,
    file: Annotated[Path, typer.Argument(help="The file to write, for its owner alone.")],
    secret: Kept = Secret.KEEP,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a profile to a file, in the form that ThingsBoard's own pages export and import."""
    common.check_new(file, force=force)
    found = await profile_files.export(server, await server.profile(name), secret)
    paths.write_private(file, json.dumps(found, indent=2).encode(), is_durable=True)
    has_secret = bool(found.get("provisionDeviceKey")) and found.get("provisionType") != _CHAIN
    if as_json:
        tables.print_json({"name": name, "file": str(file), "has_secret": has_secret})
        return
    tables.echo(f"exported {name} to {file}")
    if has_secret:
        tables.echo("It holds the provisioning secret: who has this file can provision boards.")


@app.command("import", epilog="Example: bench profile import tray7.json --url https://tb.example --user me@tb.example")
@with_server()
async def import_profile(
    server: ThingsBoard,
    file: Annotated[
        Path,
        typer.Argument(help="A file of bench profile export or of ThingsBoard; - for standard input.", allow_dash=True),
    ],
    secret: Kept = Secret.KEEP,
    name: Annotated[str, typer.Option(help="Another name for it.", show_default="as in the file")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Change the profile of this name if there is one; its devices stay.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a profile from a file of this or another server, and say what the server did not take of it."""
    file_kinds.check(file, FileKind.PROFILE)
    found = profile_files.portable(profile_files.parse(text_files.read(file), str(file)), secret)
    found = {**found, "name": name or found["name"]}
    stored, is_new, lost = await profile_files.store(server, found, replace=replace)
    if as_json:
        tables.print_json({**view(stored, show_secrets=False), "not_taken": lost})
    else:
        done = f"{'created' if is_new else 'changed'} profile {stored['name']}"
        tables.facts(view(stored, show_secrets=False), as_json=False, done=done)
        for each in lost:
            tables.echo(f"not taken: {each}")
    if lost:
        raise BenchError(f"{stored['name']} is there, but parts of it were not taken: {len(lost)}")


@app.command(epilog="Example: bench profile delete tray7")
@with_server()
async def delete(server: ThingsBoard, name: str) -> None:
    """Delete a profile that has no devices."""
    await server.delete_profile(name)
    tables.echo(f"deleted {name}")
