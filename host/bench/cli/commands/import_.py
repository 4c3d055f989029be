"""`bench import`: devices from a CSV file."""

import csv
import io
import re
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import text_files
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.input_files import table
from bench.input_files.table import Table
from bench.rest_client import ThingsBoard

# ThingsBoard's column types; any other head is the name of a server attribute.
_TYPES = (
    *("NAME", "TYPE", "LABEL", "ACCESS_TOKEN", "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD"),
    *("IS_GATEWAY", "DESCRIPTION"),
)


_DELIMITER = ","


class IncompleteImport(BenchError):
    """Some lines were not imported."""


@with_server()
async def import_devices(
    server: ThingsBoard,
    file: Annotated[Path, typer.Argument(help="A CSV file with a header line; - for standard input.", allow_dash=True)],
    delimiter: Annotated[
        str, typer.Option(metavar="CHARACTER", help="What is between columns.", show_default="as in the file")
    ] = "",
    as_json: Json = False,
) -> None:
    """Make devices from a CSV file before their first boot, or update existing ones.

    One device a line. The header names the columns: NAME (required), TYPE (the profile), LABEL, ACCESS_TOKEN, X509,
    MQTT_CLIENT_ID, MQTT_USER_NAME, MQTT_PASSWORD, IS_GATEWAY, DESCRIPTION, or the name of a server attribute.
    """
    if len(delimiter) > 1:
        raise UsageError("--delimiter must be one character")
    found = table.parse(text_files.read(file), str(file), delimiter)
    columns = [_column(each.strip()) for each in found.head.cells]
    if {"type": "NAME"} not in columns:
        raise UsageError(f"{file} has no column NAME: its first line must name the columns")
    with progress.waiting(f"importing {len(found.rows):,} lines", quiet=as_json):
        done = await server.bulk_import(_csv(found), columns, _DELIMITER)
    errors = [_numbered(each, found.head.number - 1) for each in done.get("errorsList") or []]
    if as_json:
        tables.print_json({"created": done["created"], "updated": done["updated"], "errors": errors})
    else:
        tables.echo(f"{done['created']} created, {done['updated']} updated, {done['errors']} not imported")
        for each in errors:
            tables.echo(f"  {each}")
    if done["errors"]:
        raise IncompleteImport(f"{done['errors']} lines of {file} were not imported")


def _csv(found: Table) -> str:
    """Return a table as CSV whose rows are as far below the head as in the file: the server reports their numbers."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=_DELIMITER, lineterminator="\n")
    written = found.head.number
    writer.writerow(found.head.cells)
    for row in found.rows:
        text.write("\n" * (row.number - written - 1))
        writer.writerow(row.cells)
        written = row.number
    return text.getvalue()


def _numbered(error: str, before: int) -> str:
    """Return a server's error with the number of its row in the file, which has so many rows before its head."""
    return re.sub(r"^Line (\d+)", lambda found: f"Line {int(found[1]) + before}", error)


def _column(head: str) -> dict[str, str]:
    kind = head.upper().replace(" ", "_")
    return {"type": kind} if kind in _TYPES else {"type": "SERVER_ATTRIBUTE", "key": head}
