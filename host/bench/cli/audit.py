"""`bench audit`: who did what."""

from typing import Annotated

import typer

from bench.cli import output
from bench.cli.operator import asks_server
from bench.cli.output import Json
from bench.thingsboard import ThingsBoard


@asks_server()
async def audit(
    server: ThingsBoard,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """Show who did what, when, from where, and how it ended."""
    rows = [
        {
            "time": output.moment(each["createdTime"]),
            "who": each.get("userName"),
            "what": each["actionType"],
            "entity": each.get("entityName"),
            "result": each["actionStatus"],
            **{key: (each.get("actionData") or {}).get(key, "") for key in ("address", "transport", "request")},
        }
        for each in await server.audit(limit)
    ]
    output.table(rows, as_json=as_json, empty="Nothing happened yet.")
