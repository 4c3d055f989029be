"""`bench import`: devices from a CSV file."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.rest_client import ThingsBoard

# ThingsBoard's column types; any other head is the name of a server attribute.
_TYPES = (
    *("NAME", "TYPE", "LABEL", "ACCESS_TOKEN", "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD"),
    *("IS_GATEWAY", "DESCRIPTION"),
)


class IncompleteImport(BenchError):
    """Some lines were not imported."""


@with_server()
async def import_devices(
    server: ThingsBoard,
    file: Annotated[Path, typer.Argument(help="A CSV file with a header line; - for standard input.", allow_dash=True)],
    delimiter: Annotated[str, typer.Option(help="The character between columns.")] = ",",
    as_json: Json = False,
) -> None:
    """Make devices before their first boot, one a line, or update existing ones.

    The header names the columns: NAME (required), TYPE (the profile), LABEL, ACCESS_TOKEN, X509, MQTT_CLIENT_ID,
    MQTT_USER_NAME, MQTT_PASSWORD, IS_GATEWAY, DESCRIPTION, or the name of a server attribute.
    """
    if len(delimiter) != 1:
        raise UsageError("--delimiter must be one character")
    text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text("utf-8-sig")
    head = next(csv.reader(text.splitlines(), delimiter=delimiter), [])
    columns = [_column(each.strip()) for each in head]
    if {"type": "NAME"} not in columns:
        raise UsageError(f"{file} has no column NAME: its first line must name the columns")
    done = await server.bulk_import(text, columns, delimiter)
    errors = done.get("errorsList") or []
    if as_json:
        tables.print_json({"created": done["created"], "updated": done["updated"], "errors": errors})
    else:
        tables.echo(f"{done['created']} created, {done['updated']} updated, {done['errors']} not imported")
        for each in errors:
            tables.echo(f"  {each}")
    if done["errors"]:
        raise IncompleteImport(f"{done['errors']} lines of {file} were not imported")


def _column(head: str) -> dict[str, str]:
    kind = head.upper().replace(" ", "_")
    return {"type": kind} if kind in _TYPES else {"type": "SERVER_ATTRIBUTE", "key": head}
