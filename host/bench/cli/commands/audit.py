"""`bench audit`: who did what."""

from typing import Annotated, Any

import typer

from bench.cli.options.operator_session import asks_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.rest_client import ThingsBoard


@asks_server()
async def audit(
    server: ThingsBoard,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """Show who did what, when, from where, and how it ended."""
    rows = [_row(each, whole=as_json) for each in await server.audit(limit)]
    tables.table(rows, as_json=as_json, empty="Nothing happened yet.")


def _row(entry: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    origin = entry.get("actionData") or {}
    row = {
        "time": tables.moment(entry["createdTime"]),
        "who": entry.get("userName"),
        "what": entry["actionType"],
        "entity": entry.get("entityName"),
        "result": entry["actionStatus"],
    }
    if whole:
        return {**row, **{key: origin.get(key, "") for key in ("address", "transport", "request")}}
    return {**row, "from": " ".join(origin[key] for key in ("transport", "address") if origin.get(key))}
