"""`bench audit`: the audit log."""

from typing import Annotated, Any

import typer

from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.rest_client import ThingsBoard


@with_server()
async def audit(
    server: ThingsBoard,
    limit: Annotated[int, typer.Option(min=1, help="Number of entries, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """Show the audit log: time, user, action, result and origin of each change."""
    rows = [_row(each, whole=as_json) for each in await server.audit(limit)]
    tables.table(rows, as_json=as_json, empty="The audit log is empty.")


def _row(entry: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    origin = entry.get("actionData") or {}
    row = {
        "time": tables.utc_time(entry["createdTime"]),
        "who": entry.get("userName"),
        "what": entry["actionType"],
        "entity": entry.get("entityName"),
        "result": entry["actionStatus"],
    }
    if whole:
        return {**row, **{key: origin.get(key, "") for key in ("address", "transport", "request")}}
    return {**row, "from": " ".join(origin[key] for key in ("transport", "address") if origin.get(key))}
