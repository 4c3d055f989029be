"""`bench import`: devices from a CSV file."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import file_kinds, import_lines, import_plan
from bench.cli.file_kinds import FileKind
from bench.cli.import_lines import FileLine
from bench.cli.import_plan import Effect, PlannedLine
from bench.cli.options import keyboard, text_files
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.input_files import table
from bench.registry.import_cells import ImportColumn
from bench.registry.provision_type import ProvisionType
from bench.rest_client import ThingsBoard
from bench.text import printable

_DELIMITER = ","
# How many profiles a question names.
_NAMED = 5
# Lines in one request: ThingsBoard stores some hundreds in the 30 s that a request may take.
_AT_ONCE = 500


class IncompleteImport(BenchError):
    """Some lines were not imported."""


@dataclass
class Outcome:
    """The result of an import: names of devices and profiles, and errors."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what each line would do (new, changed, same), and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make devices from a CSV file before their first boot, or update existing ones.

    One device a line. The header names the columns: NAME (required), TYPE (the profile), LABEL, ACCESS_TOKEN, X509,
    MQTT_CLIENT_ID, MQTT_USER_NAME, MQTT_PASSWORD, IS_GATEWAY, DESCRIPTION, of bench serve alone SERIAL_NUMBER and
    FIELD.color (a field of the profile's template), or the name of a server attribute. Without a TYPE a new device gets
    the default profile, and a known one keeps its own. All lines are checked first: nothing is sent if one of them
    cannot be imported as it is written. Lines of devices that are as they say are not sent either.
    """
    if len(delimiter) > 1:
        raise UsageError("--delimiter must be one character")
    file_kinds.check(file, FileKind.TABLE)
    found = table.parse(text_files.read(file), str(file), delimiter)
    columns = import_lines.columns(found.head, str(file))
    lines = import_lines.read(found, columns)
    if not lines:
        raise UsageError(f"{file} has no lines but its first, which names the columns: nothing was imported")
    missing = await _missing_profiles(server, lines)
    if not (create_profiles or (sys.stdin.isatty() and not dry_run)):
        for each in lines:
            if each.kind in missing:
                each.problems.append(f"no profile {each.kind}: correct TYPE, or make it with --create-profiles")
    _refuse(lines, str(file), as_json=as_json)
    if missing and not create_profiles:
        _confirm(missing)
    with progress.waiting(f"comparing {len(lines):,} lines with what is there", quiet=as_json):
        planned = await import_plan.plan(server, lines)
    _refuse(lines, str(file), as_json=as_json)
    if dry_run:
        _show_plan(planned, missing, as_json=as_json)
        return
    outcome = Outcome(same=[each.file_line.name for each in planned if each.effect is Effect.SAME])
    try:
        for name in missing:
            await server.create_profile(name, ProvisionType.DISABLED, key=None, secret=None)
            outcome.profiles.append(name)
        wanted = [each for each in planned if each.effect is not Effect.SAME]
        with progress.counting(f"importing {len(wanted):,} lines", quiet=as_json) as on_progress:
            await _import(server, wanted, columns, outcome, on_progress)
    finally:
        _show(outcome, as_json=as_json)
    if outcome.errors:
        raise IncompleteImport(f"not imported from {file}: {len(outcome.errors)} of {len(lines)} lines")


def _refuse(lines: Sequence[FileLine], file: str, *, as_json: bool) -> None:
    """Show all that is wrong with lines. Raises UsageError if anything is."""
    errors = [f"Line {each.row.number}: {problem}" for each in lines for problem in each.problems]
    if not errors:
        return
    if as_json:
        tables.print_json(vars(Outcome(errors=errors)))
    else:
        for each in errors:
            tables.echo(each)
    wrong = sum(bool(each.problems) for each in lines)
    raise UsageError(f"nothing was sent: {wrong} of {len(lines)} lines of {file} must be corrected")


async def _missing_profiles(server: ThingsBoard, lines: Sequence[FileLine]) -> Counter[str]:
    """Return the profiles that lines name and the server does not have, with the number of their lines."""
    wanted = Counter(each.kind for each in lines if each.kind)
    known = {each["name"] for each in await server.profiles()} if wanted else set()
    return Counter({name: count for name, count in wanted.items() if name not in known})


def _confirm(missing: Counter[str]) -> None:
    """Have a person confirm profiles that do not exist: one may be a typing error. Raises BenchError."""
    names = ", ".join(f"{printable(name)} ({count} lines)" for name, count in missing.most_common(_NAMED))
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    keyboard.confirm(f"No profile {names}{more}. Make them, without provisioning?", "nothing was imported")


async def _import(
    server: ThingsBoard,
    wanted: Sequence[PlannedLine],
    columns: Sequence[ImportColumn],
    outcome: Outcome,
    on_progress: Callable[[int, int], None],
) -> None:
    """Send lines, some hundreds at once. A BenchError is raised once the outcome says what is known until then."""
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        try:
            failed = await _send(server, part, columns)
            if failed:  # ThingsBoard stores the lines of a file in parallel, and one may have been in another's way
                again = [each for each in part if each.file_line.row.number in failed]
                failed = await _send(server, again, columns)
        except BenchError:
            first, last = part[0].file_line.row.number, wanted[-1].file_line.row.number
            outcome.errors.append(f"Lines {first} to {last}: not known whether they were imported")
            raise
        for each in part:
            if (number := each.file_line.row.number) in failed:
                outcome.errors.append(f"Line {number}: {failed[number]}")
            else:
                (outcome.created if each.effect is Effect.NEW else outcome.updated).append(each.file_line.name)
        on_progress(start + len(part), len(wanted))


async def _send(server: ThingsBoard, planned: Sequence[PlannedLine], columns: Sequence[ImportColumn]) -> dict[int, str]:
    """Import lines; return the server's errors by the numbers of their lines in the file."""
    form = [{"type": each.type, **({"key": each.key} if each.key else {})} for each in columns]
    rows = [each.file_line.row for each in planned]
    head = [each.key or each.type for each in columns]
    done = await server.bulk_import(_csv([head, *(row.cells for row in rows)]), form, _DELIMITER)
    failed: dict[int, str] = {}
    for error in done.get("errorsList") or []:
        numbered = re.match(r"Line (\d{1,9}): ?", str(error))  # counted from the head, without gaps
        if numbered is None or not 2 <= int(numbered[1]) <= len(rows) + 1:
            raise BenchError(f"the server does not say which line it refuses: {error}")
        failed[rows[int(numbered[1]) - 2].number] = str(error)[numbered.end() :]
    if _count(done) + len(failed) != len(rows):
        raise BenchError(f"the server imported {_count(done)} of {len(rows)} lines, and does not say why")
    return failed


def _count(done: dict[str, Any]) -> int:
    """Return the number of lines that a server stored. Raises BenchError for what is not a number."""
    counts = done["created"], done["updated"]
    if not all(isinstance(each, int) for each in counts):
        raise BenchError("the server does not say how many lines it imported: is it a ThingsBoard, and the URL right?")
    return sum(counts)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=_DELIMITER, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _show_plan(planned: Sequence[PlannedLine], missing: Counter[str], *, as_json: bool) -> None:
    rows = [
        {
            "line": each.file_line.row.number,
            "name": each.file_line.name,
            "effect": each.effect.value,
            "changes": each.changes,
        }
        for each in planned
    ]
    if as_json:
        tables.print_json({"profiles": list(missing), "lines": rows})
        return
    for name in missing:
        tables.echo(f"new profile {name}, without provisioning")
    tables.table(
        [{**row, "changes": ", ".join(each.changes)} for row, each in zip(rows, planned, strict=True)],
        as_json=False,
        empty="No lines.",
    )
    counts = Counter(each.effect for each in planned)
    tables.echo(", ".join(f"{counts[each]} {each}" for each in Effect) + "; nothing was changed")


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        tables.print_json(vars(outcome))
        return
    for each in outcome.profiles:
        tables.echo(f"created profile {each}")
    for what in ("created", "updated"):
        for each in vars(outcome)[what]:
            tables.echo(f"{what} {each}")
    for each in outcome.errors:
        tables.echo(f"  {each}")
    counts = ", ".join(f"{len(vars(outcome)[what])} {what}" for what in ("created", "updated", "same"))
    tables.echo(f"{counts}, {len(outcome.errors)} not imported")
