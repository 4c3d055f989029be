"""`bench audit`: the audit log."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from bench.cli.options import times
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.rest_client import ThingsBoard

# Characters of a name that is shown whole: who asks whether a key is known gives one of 256.
_NAME = 64
# Of the first start's account, which everybody knows.
_DOMAIN = "@firstboot.local"
_WHOLE = ("time", "what", "result", "from")


@with_server()
async def audit(
    server: ThingsBoard,
    limit: Annotated[int, typer.Option(min=1, help="Number of entries, the newest first.")] = 50,
    since: Annotated[str, typer.Option(metavar="TIME", help=f"Only entries from then on: {times.HELP}.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Only entries until then.")] = "",
    who: Annotated[str, typer.Option(help="Only entries of this user; device: those of devices.")] = "",
    what: Annotated[
        list[str], typer.Option(metavar="ACTION", help="Only this action, e.g. ADDED or LOGIN. Repeatable.")
    ] = [],  # noqa: B006
    entity: Annotated[str, typer.Option(help="Only entries about this device, profile, customer or user.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only what was refused, or failed.")] = False,
    search: Annotated[str, typer.Option(help="Only entries with this text in one of these columns.")] = "",
    as_json: Json = False,
) -> None:
    """Show the audit log: time, user, action, result and origin of each change.

    Times are UTC. Logins of commands on the data folder itself are not in it.
    """

    def matches(row: dict[str, Any]) -> bool:
        return (
            (not who or row.get("userName") == who)
            and (not entity or row.get("entityName") == entity)
            and not (failed and row["actionStatus"] == "SUCCESS")
        )

    found = await server.audit(
        limit,
        search=search or entity or who,
        actions=[each.upper() for each in what],
        since_ms=times.milliseconds(since, "--since"),
        until_ms=times.milliseconds(until, "--until"),
        matches=matches,
    )
    rows = [_row(each, whole=as_json) for each in found]
    tables.table(rows, as_json=as_json, empty="The audit log has no such entries.", whole=_WHOLE)


def _row(entry: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    origin = entry.get("actionData") or {}
    row = {
        "time": tables.utc_time(entry["createdTime"]),
        "who": entry.get("userName"),
        "what": entry["actionType"],
        "entity": entry.get("entityName"),
        "result": entry["actionStatus"],
    }
    address = origin.get("address") or origin.get("clientAddress") or ""  # ThingsBoard's name for it, at logins
    if whole:
        return {**row, "address": address, **{key: origin.get(key, "") for key in ("transport", "request")}}
    return {
        **row,
        "time": _short(entry["createdTime"]),
        "who": str(row["who"] or "").removesuffix(_DOMAIN),
        "entity": _shortened(str(row["entity"] or "")),
        "from": " ".join(filter(None, (origin.get("transport"), address))),
    }


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."


def _short(ms: int) -> str:
    """Return a time without the year, if that is this one."""
    text = tables.utc_time(ms)
    return text.removeprefix(f"{datetime.now(UTC).year}-")
