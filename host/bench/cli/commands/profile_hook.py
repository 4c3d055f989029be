"""`bench profile hook`: who may refuse a profile's devices before they are provisioned."""

from pathlib import Path
from typing import Annotated

import typer

from bench import paths
from bench.cli.options import common
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.contract.pre_provisioning import LONGEST_S, SHORTEST_S, TIMEOUT_S, Default
from bench.errors import UsageError
from bench.rest_client import ThingsBoard, id_of


@with_server()
async def hook(
    server: ThingsBoard,
    name: str,
    receiver: Annotated[
        str, typer.Argument(metavar="[URL]", help="The hook that is asked: https://, or http://.", show_default=False)
    ] = "",
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=SHORTEST_S, max=LONGEST_S, help="Seconds that it has to decide.")
    ] = TIMEOUT_S,
    default: Annotated[
        Default, typer.Option(help="What counts if it does not answer in time, or not with an answer.")
    ] = Default.REFUSE,
    secret_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the secret there, for you alone, instead of showing it."),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Have the server's hook asked again, if it has one.")
    ] = False,
    force: common.Force = False,
    as_json: Json = False,
) -> None:
    """Show the hook that may refuse a profile's devices before they are provisioned, after changing it if asked to.

    It is asked in the place of the server's (bench serve --pre-provision). The secret of its signatures is shown this
    once; another URL, timeout or default comes with another secret.
    """
    if remove and receiver:
        raise UsageError("a URL and --remove exclude each other: choose one")
    if secret_file and not receiver:
        raise UsageError("--secret-file needs a URL: a secret is made with a hook, and shown then alone")
    profile_id = id_of(await server.profile(name))
    if not receiver:
        if remove:
            await server.remove_profile_hook(profile_id)
        found = await server.profile_hook(profile_id)
        shown = {"name": name, **(found if found["url"] else {"url": None})}
        tables.facts(shown, as_json=as_json, done=f"profile {name} has no hook of its own now" if remove else "")
        return
    if secret_file:
        common.check_new(secret_file, force=force)
    made = await server.set_profile_hook(profile_id, receiver, timeout_s, default.value)
    secret = str(made.pop("secret"))
    if secret_file:
        paths.write_private(secret_file, f"{secret}\n".encode())
    own = {"secret_file": str(secret_file)} if secret_file else {"secret": secret}
    tables.facts({"name": name, **made, **own}, as_json=as_json)
