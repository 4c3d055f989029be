"""`bench telemetry`: the values that a device reports."""

import asyncio
import json
from typing import Annotated, Any

import typer

from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.errors import BenchError
from bench.rest_client import ThingsBoard

_POLL_S = 1.0


@with_server()
async def telemetry(
    server: ThingsBoard,
    name: str,
    keys: Annotated[str, typer.Option(metavar="KEYS", help="Only these keys: a,b,c. Default: all.")] = "",
    last: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Show all values of this time until now. 0: only the latest."),
    ] = 0,
    limit: Annotated[int, typer.Option(min=1, help="With --last: the most values of a key.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", help="Show new values as they arrive, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show a device's telemetry: the latest value of each key, oldest first."""
    device_id = await server.device_id(name)
    wanted = [key for key in keys.split(",") if key]
    seen: dict[str, int] = {}
    if last:
        entries = await server.history(
            device_id, wanted or list(await server.latest(device_id)), seconds=last, limit=limit
        )
        _show([(each["ts"], key, each["value"]) for key, found in entries.items() for each in found], as_json)
        seen = {key: found[0]["ts"] for key, found in entries.items() if found}
        if not follow:
            return
    while True:
        latest = await server.latest(device_id)
        fresh = [(ts, key, value) for key, (ts, value) in latest.items() if key in (wanted or latest)]
        _show([entry for entry in fresh if seen.get(entry[1]) != entry[0]], as_json)
        seen = {key: ts for ts, key, _ in fresh}
        if not follow:
            break
        await asyncio.sleep(_POLL_S)
    if missing := [key for key in wanted if key not in latest]:
        raise BenchError(f"{name} has no value of {', '.join(missing)}: see all of them without --keys")


def _show(entries: list[tuple[int, str, Any]], as_json: bool) -> None:
    for ts, key, value in sorted(entries, key=lambda entry: entry[:2]):
        if as_json:
            tables.print_json({"ts": ts, "key": key, "value": value}, indent=None)
        else:
            tables.echo(f"{tables.utc_time(ts)}  {key} {json.dumps(value)}")
