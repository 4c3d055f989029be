"""`bench device export` and `import`: devices that move to another server, while their boards go on as they are."""

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli.options import common, text_files
from bench.cli.options.common import Force
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.rest_client import ThingsBoard, device_files, id_of, in_parallel
from bench.rest_client.device_files import Moved

# Devices that are in memory with all their attributes at a time.
_AT_A_TIME = 500


@with_server()
async def export(
    server: ThingsBoard,
    file: Annotated[Path, typer.Argument(help="The file to write, for its owner alone: one device a line, as JSON.")],
    search: Annotated[str, typer.Option(help="Only devices with this text in their name, label or profile.")] = "",
    with_credentials: Annotated[
        bool, typer.Option("--with-credentials", help="Their credentials, too: who has the file can log in as each.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write devices to a file, for bench device import at another server.

    With their credentials the boards log in there as they are; their attributes of all scopes go along, and so does the
    provisionState of pre-provisioned ones. Telemetry, and profiles (bench profile export), do not.
    """
    common.check_new(file, force=force)
    found = await server.device_infos(search)
    done = itertools.count(1)
    with (
        paths.private_stream(file) as output,
        progress.counting(f"exporting {len(found):,} devices", quiet=as_json) as on_progress,
    ):
        for start in range(0, len(found), _AT_A_TIME):
            lines = await in_parallel(
                found[start : start + _AT_A_TIME],
                lambda each: device_files.export(server, each, with_credentials=with_credentials),
                lambda: on_progress(next(done), len(found)),
            )
            output.writelines(json.dumps(each).encode() + b"\n" for each in lines)
    if as_json:
        tables.print_json({"file": str(file), "devices": len(found), "has_credentials": with_credentials})
        return
    tables.echo(f"exported {len(found):,} devices to {file}")
    if with_credentials:
        tables.echo("It holds their credentials: who has this file can log in as each of them.")


@with_server()
async def import_devices(
    server: ThingsBoard,
    file: Annotated[Path, typer.Argument(help="A file of bench device export; - for standard input.", allow_dash=True)],
    as_json: Json = False,
) -> None:
    """Make devices from a file of another server, with the same credentials: their boards log in as they are.

    Nothing is sent before all lines are read and the profiles are there. A device that is there already is brought up
    to date if it has the same credentials, and left alone if not; so an interrupted import is repeated. What this
    server does not take is said of each device.
    """
    devices = device_files.parse(text_files.read(file).split("\n"), str(file))
    profiles = {each["name"]: each["id"] for each in await server.profiles()}
    if missing := sorted({each["profile"] for each in devices} - set(profiles)):
        raise UsageError(f"no profile {', '.join(missing)}: move it first with bench profile export and import")
    customers = {each["title"]: id_of(each) for each in await server.customers()}
    done = itertools.count(1)
    with progress.counting(f"importing {len(devices):,} devices", quiet=as_json) as on_progress:
        moved = await in_parallel(
            devices,
            lambda each: device_files.store(server, each, profiles, customers),
            lambda: on_progress(next(done), len(devices)),
        )
    _report(moved, as_json=as_json)
    failed, incomplete = sum(bool(each.failed) for each in moved), sum(bool(each.lost) for each in moved)
    if failed or incomplete:
        raise BenchError(f"of {len(moved):,} devices {failed:,} were not imported, and {incomplete:,} not wholly")


def _report(moved: list[Moved], *, as_json: bool) -> None:
    created = sum(each.created for each in moved)
    there = sum(not each.created and not each.failed for each in moved)
    problems: list[dict[str, Any]] = [
        {"name": each.name, "failed": each.failed, "not_taken": each.lost} for each in moved if each.failed or each.lost
    ]
    reported = sum(each.reported for each in moved)
    if as_json:
        tables.print_json(
            {"created": created, "already_there": there, "problems": problems, "client_attributes": reported}
        )
        return
    for each in moved:
        if not each.failed:
            tables.echo(f"created {each.name}" if each.created else f"{each.name} was there")
    tables.echo(f"{created:,} created, {there:,} were there with the same credentials")
    # A reason that many devices share is one line.
    reasons: dict[str, list[str]] = {}
    for each in moved:
        for reason in [each.failed] if each.failed else each.lost:
            reasons.setdefault(reason, []).append(each.name)
    for reason, names in sorted(reasons.items(), key=lambda each: -len(each[1])):
        tables.echo(f"  {names[0]}{f' and {len(names) - 1:,} more' if len(names) > 1 else ''}: {reason}")
    if reported:
        tables.echo(f"Client attributes of {reported:,} devices were left: their boards report them again.")
