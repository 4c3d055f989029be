"""`bench import`: devices from a CSV file."""

import csv
import io
import re
import sys
from collections import Counter
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
from bench.text import printable

# ThingsBoard's column types; any other head is the name of a server attribute.
_TYPES = (
    *("NAME", "TYPE", "LABEL", "ACCESS_TOKEN", "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD"),
    *("IS_GATEWAY", "DESCRIPTION"),
)


_DELIMITER = ","
# How many profiles an error names.
_NAMED = 5


class IncompleteImport(BenchError):
    """Some lines were not imported."""


@with_server()
async def import_devices(
    server: ThingsBoard,
    file: Annotated[Path, typer.Argument(help="A CSV file with a header line; - for standard input.", allow_dash=True)],
    delimiter: Annotated[
        str, typer.Option(metavar="CHARACTER", help="What is between columns.", show_default="as in the file")
    ] = "",
    create_profiles: Annotated[
        bool, typer.Option("--create-profiles", help="Make the profiles in TYPE that do not exist, without asking.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make devices from a CSV file before their first boot, or update existing ones.

    One device a line. The header names the columns: NAME (required), TYPE (the profile), LABEL, ACCESS_TOKEN, X509,
    MQTT_CLIENT_ID, MQTT_USER_NAME, MQTT_PASSWORD, IS_GATEWAY, DESCRIPTION, or the name of a server attribute. Without a
    TYPE a new device gets the default profile, and a known one keeps its own.
    """
    if len(delimiter) > 1:
        raise UsageError("--delimiter must be one character")
    found = table.parse(text_files.read(file), str(file), delimiter)
    columns = [_column(each.strip()) for each in found.head.cells]
    if {"type": "NAME"} not in columns:
        raise UsageError(f"{file} has no column NAME: its first line must name the columns")
    if not create_profiles and {"type": "TYPE"} in columns:
        _check_profiles(found, columns, {each["name"] for each in await server.profiles()})
    with progress.waiting(f"importing {len(found.rows):,} lines", quiet=as_json):
        done = await server.bulk_import(_csv(found), columns, _DELIMITER)
    errors = [_numbered(each, found) for each in done.get("errorsList") or []]
    if as_json:
        tables.print_json({"created": done["created"], "updated": done["updated"], "errors": errors})
    else:
        tables.echo(f"{done['created']} created, {done['updated']} updated, {done['errors']} not imported")
        for each in errors:
            tables.echo(f"  {each}")
    if done["errors"]:
        raise IncompleteImport(f"not imported from {file}: {done['errors']} of {len(found.rows)} lines")


def _check_profiles(found: Table, columns: list[dict[str, str]], known: set[str]) -> None:
    """Ask before profiles are made: one that does not exist may be a typing error. Raises UsageError."""
    kinds = [number for number, column in enumerate(columns) if column["type"] == "TYPE"]
    cells = (row.cells[number] for row in found.rows for number in kinds if number < len(row.cells))
    lines = Counter(cell for cell in cells if cell and cell not in known)
    if not lines:
        return
    names = ", ".join(f"{printable(name)} ({count} lines)" for name, count in lines.most_common(_NAMED))
    more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    if not sys.stdin.isatty():
        raise UsageError(f"no profile {names}{more}: correct TYPE, or make them with --create-profiles")
    if not typer.confirm(f"No profile {names}{more}. Make them, without provisioning?", err=True):
        raise BenchError("nothing was imported")


def _csv(found: Table) -> str:
    """Return a table as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=_DELIMITER, lineterminator="\n")
    writer.writerows(row.cells for row in (found.head, *found.rows))
    return text.getvalue()


def _numbered(error: str, found: Table) -> str:
    """Return a server's error with the number of its row in the file: the server counts from the head, without gaps."""
    numbered = re.match(r"Line (\d+)(?=:)", error)
    if numbered is None or not 2 <= int(numbered[1]) <= len(found.rows) + 1:
        return error
    return f"Line {found.rows[int(numbered[1]) - 2].number}{error[numbered.end() :]}"


def _column(head: str) -> dict[str, str]:
    kind = head.upper().replace(" ", "_")
    return {"type": kind} if kind in _TYPES else {"type": "SERVER_ATTRIBUTE", "key": head}
