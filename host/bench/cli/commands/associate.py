"""`bench associate`: codes that hand devices over to whoever buys them."""

from pathlib import Path
from typing import Annotated

import typer

from bench import paths
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, NotFound, UsageError
from bench.flash import labels
from bench.flash.labels import Label
from bench.rest_client import ThingsBoard, in_parallel

_DAY_MS = 86_400_000


@with_server()
async def associate(
    server: ThingsBoard,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The devices.", show_default=False)],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the codes are valid.")] = 365,
    folder: Annotated[
        Path | None, typer.Option("--labels", metavar="FOLDER", help="Write labels to print there, with the codes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an association code for each device, which replaces one that it has.

    Whichever customer's user types it in first, gets the device. It works once, and cannot be shown again. Only the
    bench's own server has such codes.
    """
    if folder:
        labels.check()
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file: name a folder for the labels")
    found = await in_parallel(dict.fromkeys(names), server.device)
    try:
        made = await in_parallel(found, lambda each: server.association_code(each, days * _DAY_MS))
    except NotFound:
        raise BenchError("this server has no association codes: they are of the bench's own server") from None
    rows = [
        {
            "name": each["name"],
            "association_code": code["associationCode"],
            "expires": tables.utc_time(code["expires"]),
        }
        for each, code in zip(found, made, strict=True)
    ]
    if folder:
        printed = [Label(name=each["name"], association=each["association_code"]) for each in rows]
        labels.write(paths.private_folder(folder), printed)
    tables.table(rows, as_json=as_json, empty="")
    if folder and not as_json:
        tables.echo(f"labels to print: {folder}")
