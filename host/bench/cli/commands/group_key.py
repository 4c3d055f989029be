"""`bench profile group-key`, `again` and `device-key`: boards' own secrets, and who gets its device back by one."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import common, operator_session, text_files
from bench.cli.options.operator_session import SERVER_OPTIONS, ServerOptions, with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.contract.proof import claim_secret, derived_token
from bench.errors import BenchError, UsageError
from bench.registry.provision_type import Again
from bench.rest_client import ThingsBoard, id_of


@with_server()
async def group_key(
    server: ThingsBoard,
    name: str,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make another one. What boards have from the old one opens nothing.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Have boards' own secrets follow from the provisioning secret again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the group key of a profile, and show it: this once.

    The own secrets of boards (--claim device or proof) follow from it then, and not from the provisioning secret that
    other boards may have. Whoever makes boards gets theirs from the server; nobody needs the group key itself, unless
    keys are to be made without the server (bench profile device-key --group-key-file).
    """
    if replace and remove:
        raise UsageError("--replace and --remove exclude each other: choose one")
    profile_id = id_of(await server.profile(name))
    if remove:
        await server.remove_group_key(profile_id)
        tables.facts({"name": name}, as_json=as_json, done="removed the group key: boards have other secrets now")
        return
    found = await server.provisioning(profile_id)
    if found and found["hasGroupKey"] and not replace:
        raise BenchError(f"profile {name} has a group key, shown when it was made: --replace makes another one")
    shown = {"name": name, "group_key": await server.replace_group_key(profile_id)}
    tables.facts(shown, as_json=as_json, done="made a group key: it is shown here alone")


@with_server()
async def again(
    server: ThingsBoard,
    name: str,
    policy: Annotated[
        Again | None,
        typer.Argument(
            help="refuse: as ThingsBoard; keep: new credentials, all else stays; reset: deleted, and made anew.",
            show_default="unchanged",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what becomes of a wiped board that proves its own secret (--claim proof), after changing it if asked to."""
    profile_id = id_of(await server.profile(name))
    if policy is not None:
        await server.set_again(profile_id, policy)
    found = await server.provisioning(profile_id)
    if found is None:
        raise BenchError("this server refuses every device that it knows already: only bench serve has a choice")
    shown = {"name": name, "again": found["again"], "has_group_key": found["hasGroupKey"]}
    tables.facts(shown, as_json=as_json, done=f"changed profile {name}" if policy else "")


@common.with_options(SERVER_OPTIONS, operator_session.server_options)
def device_key(
    where: ServerOptions,
    name: Annotated[str, typer.Argument(metavar="PROFILE")],
    devices: Annotated[list[str], typer.Argument(metavar="DEVICE...", help="Devices' names, existing or not.")],
    group_key_file: Annotated[
        Path | None,
        typer.Option(help="A file with the profile's group key; - for standard input: no server.", allow_dash=True),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the own secrets of devices of a profile with a group key, and the access tokens that follow from them.

    The secret goes into a board's provision.secret, and the token is what boards make with provision.made_by = claim.
    """

    async def keys(server: ThingsBoard) -> list[str]:
        return await server.device_keys(id_of(await server.profile(name)), devices)

    if group_key_file is None:
        found = operator_session.run_on_server(where, keys)
    else:
        group_key = text_files.read(group_key_file).strip()
        if not group_key:
            raise UsageError(f"{group_key_file} is empty: write the group key into it")
        found = [claim_secret(group_key, device) for device in devices]
    rows = [
        {"name": device, "device_key": key, "token": derived_token(key, device)}
        for device, key in zip(devices, found, strict=True)
    ]
    tables.table(rows, as_json=as_json, empty="")
