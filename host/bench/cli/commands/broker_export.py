"""`bench broker export`: files for a mosquitto that asks nobody."""

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli import mosquitto_files
from bench.cli.mosquitto_files import Account
from bench.cli.options import common, text_files
from bench.cli.options.common import Force
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.contract import broker_topics
from bench.contract.templates import Template
from bench.errors import UsageError
from bench.rest_client import ThingsBoard, id_of, in_parallel

_OWN = "Your own entries, which come first"


@with_server()
async def export(
    server: ThingsBoard,
    passwords: Annotated[Path | None, typer.Option(help="The password file to write.")] = None,
    acl: Annotated[Path | None, typer.Option(help="The ACL file to write; it goes with --passwords.")] = None,
    own_passwords: Annotated[Path | None, typer.Option(help=f"{_OWN} in the password file.")] = None,
    own_acl: Annotated[Path | None, typer.Option(help=f"{_OWN} in the ACL file.")] = None,
    dynamic_security: Annotated[
        Path | None,
        typer.Option(help="The file of mosquitto's plugin for dynamic security: its devices are brought up to date."),
    ] = None,
    prefix: Annotated[
        str, typer.Option(metavar="PREFIX", help="The first levels of the topics (bench serve --topic-prefix).")
    ] = broker_topics.PREFIX,
    search: Annotated[str, typer.Option(help="Only devices with this text in their name, label or profile.")] = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write devices to mosquitto's files. It reads passwords and ACL again at SIGHUP, and cuts off who is gone.

    Passwords are hashed, and the files for their owner alone: a device with an access token has it for a user name.
    """
    if (passwords is None) != (acl is None) or not (passwords or dynamic_security):
        raise UsageError("name the files: --passwords FILE and --acl FILE, or --dynamic-security FILE")
    broker_topics.check_prefix(prefix)
    for file in (passwords, acl):
        if file:
            common.check_new(file, force=force)
    base = text_files.read(dynamic_security) if dynamic_security else "{}"
    mosquitto_files.dynamic_security((), base)  # wrong use, before the server is asked
    firsts = [text_files.read(each) if each else "" for each in (own_passwords, own_acl)]
    found = [each async for some, _ in server.device_infos(search) for each in some]
    done = itertools.count(1)
    with progress.counting(f"exporting {len(found):,} devices", quiet=as_json) as on_progress:
        credentials = await in_parallel(
            found, lambda each: server.credentials(id_of(each)), lambda: on_progress(next(done), len(found))
        )
    patterns = {each: await _pattern(server, each) for each in {_profile_id(device) for device in found}}
    made = [
        mosquitto_files.account(device, own, prefix, patterns[_profile_id(device)])
        for device, own in zip(found, credentials, strict=True)
    ]
    accounts = [each for each in made if isinstance(each, Account)]
    written = {
        passwords: firsts[0] + mosquitto_files.passwords(accounts) if passwords else "",
        acl: firsts[1] + mosquitto_files.access(accounts) if acl else "",
        dynamic_security: mosquitto_files.dynamic_security(accounts, base) if dynamic_security else "",
    }
    for file, text in written.items():
        if file:
            paths.write_private(file, text.encode())
    left = {device["name"]: why for device, why in zip(found, made, strict=True) if isinstance(why, str)}
    if as_json:
        tables.print_json({"devices": len(accounts), "left_out": left})
        return
    how = "have mosquitto read them again (SIGHUP)" if passwords else "restart mosquitto, which reads them at its start"
    tables.echo(f"exported {len(accounts):,} devices: {how}")
    for name, why in left.items():
        tables.echo(f"  left out {name}: {why}")


def _profile_id(device: dict[str, Any]) -> str:
    return str(device["deviceProfileId"]["id"])


async def _pattern(server: ThingsBoard, profile_id: str) -> str:
    """Return the pattern of the topics of a profile's devices."""
    return (await server.template(profile_id) or Template()).topics
