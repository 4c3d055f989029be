"""`bench clean`: removes what killed runs of tests, or of chaos, left on a server."""

from dataclasses import asdict
from typing import Annotated

import typer

from bench.cli.options import keyboard, times
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.errors import BenchError
from bench.rest_client import ThingsBoard, runs
from bench.rest_client.runs import Removed


@with_server()
async def clean(
    server: ThingsBoard,
    older: Annotated[
        str,
        typer.Option(metavar="TIME", help=f"Only what was made before: {times.HELP}. Tests may still use the rest."),
    ] = "1h",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what killed runs left (pytest --bench-url, bench chaos run --url): only that, by name and description.

    A profile stays if there are devices in it that no run made. Without a terminal it needs --yes.
    """
    found = await runs.find(server, before_ms=times.milliseconds(older, "--older"))
    whole = [each for each in found if not each.others]
    devices = [str(each["name"]) for one in found for each in one.devices]
    if not as_json:
        for each in found:
            stays = f" (stays: {len(each.others):,} devices in it are not of a run)" if each.others else ""
            tables.echo(f"profile {each.profile['name']}{stays}")
            for device in each.devices:
                tables.echo(f"  device {device['name']}")
    if (whole or devices) and not yes:
        keyboard.confirm(f"Remove {len(whole):,} profiles and {len(devices):,} devices?", "nothing was removed")
    removed = Removed()
    try:
        await runs.remove(server, [each.profile for each in found], removed)
    finally:
        if as_json:
            tables.print_json(asdict(removed))
        else:
            for name in (*removed.devices, *removed.profiles):
                tables.echo(f"removed {name}")
            tables.echo(f"removed {len(removed.profiles):,} profiles and {len(removed.devices):,} devices")
    if removed.kept:
        raise BenchError(
            f"these profiles stay: {', '.join(removed.kept)}: give the devices in them that no run made another "
            "profile, have another be the default, and repeat this"
        )
