"""`bench device export` and `import`: devices that move to another server, while their boards go on as they are."""

import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from bench import paths
from bench.cli import device_csv, file_kinds
from bench.cli.device_csv import DeviceTable
from bench.cli.file_kinds import FileKind
from bench.cli.options import common
from bench.cli.options.common import Force
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.input_files import decoding
from bench.rest_client import ThingsBoard, device_export, device_files, id_of, in_parallel
from bench.rest_client.device_files import Moved

_ENDED = "it is decommissioned"
# Devices of a file that are in memory at once.
_AT_ONCE = 200


class Form(StrEnum):
    """The form of a file of devices."""

    JSON = "json"
    CSV = "csv"


@dataclass
class Exported:
    """The result of an export: how many devices are in the file, and why others are not, by their names."""

    devices: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass
class Imported:
    """The result of an import: how many devices, and of those with problems which."""

    count: int = 0
    created: int = 0
    changed: int = 0
    failed: int = 0
    incomplete: int = 0
    reported: int = 0
    problems: list[Moved] = field(default_factory=list)

    def add(self, moved: Moved) -> None:
        """Count a device."""
        self.count += 1
        self.created += moved.created
        self.changed += moved.changed
        self.failed += bool(moved.failed)
        self.incomplete += bool(moved.lost)
        self.reported += moved.reported
        if moved.failed or moved.lost:
            self.problems.append(moved)

    def show(self, *, as_json: bool) -> None:
        """Print the counts, and what there are problems with."""
        same = self.count - self.created - self.changed - self.failed
        if as_json:
            problems: list[dict[str, Any]] = [
                {"name": each.name, "failed": each.failed, "not_taken": each.lost} for each in self.problems
            ]
            counts = {"created": self.created, "changed": self.changed, "same": same}
            tables.print_json({**counts, "problems": problems, "client_attributes": self.reported})
            return
        tables.echo(f"{self.created:,} created, {self.changed:,} changed, {same:,} were there as they are in the file")
        _show_reasons(
            (each.name, reason) for each in self.problems for reason in ([each.failed] if each.failed else each.lost)
        )
        if self.reported:
            tables.echo(f"Client attributes of {self.reported:,} devices were left: their boards report them again.")


@with_server()
async def export(
    server: ThingsBoard,
    file: Annotated[Path, typer.Argument(help="The file to write, for its owner alone.")],
    search: Annotated[str, typer.Option(help="Only devices with this text in their name, label or profile.")] = "",
    profile: Annotated[str, typer.Option(metavar="NAME", help="Only devices of this profile.")] = "",
    with_credentials: Annotated[
        bool, typer.Option("--with-credentials", help="Their credentials, too: who has the file can log in as each.")
    ] = False,
    form: Annotated[
        Form,
        typer.Option(
            "--format", help="JSON, one device a line, with everything; or CSV, with the columns of bench import."
        ),
    ] = Form.JSON,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write devices to a file, for bench device import at another server, or as CSV for bench import.

    With their credentials the boards log in there as they are; their attributes of all scopes go along, serial numbers,
    customers, their own values of fields, and whether they are deactivated. Ids, times, telemetry, and profiles (bench
    profile export), do not.
    CSV has only server attributes, and no customers; a device that it cannot hold is left out, and named.
    Decommissioned devices are left out, too: no server may bring them back.
    """
    common.check_new(file, force=force)
    if profile:
        await server.profile(profile)  # a typing error is no empty file
    done = Exported()
    with (
        paths.private_stream(file) as output,
        _lines(form, file, output, done, with_credentials=with_credentials) as lines,
        progress.counting("exporting devices", quiet=as_json) as on_progress,
    ):
        wanted = {"search": search, "profile": profile}
        read = 0
        async for devices, count in device_export.pages(server, **wanted, with_credentials=with_credentials):
            for each in devices:
                if device_files.is_decommissioned(each):
                    done.left_out[each["name"]] = _ENDED
                else:
                    lines.write(device_files.line(each))
                    done.devices += 1
            read += len(devices)
            on_progress(read, count)
    _show(done, file, as_json=as_json, with_credentials=with_credentials)
    if unfit := sum(reason != _ENDED for reason in done.left_out.values()):
        raise BenchError(f"{file} does not have {unfit:,} devices, which CSV cannot hold: export them as JSON")


@contextmanager
def _lines(form: Form, file: Path, output: IO[bytes], done: Exported, *, with_credentials: bool) -> Iterator[IO[bytes]]:
    """Yield the file for lines of JSON: that of the export, or one without a name that becomes CSV at the end."""
    if form is Form.JSON:
        yield output
        return
    with tempfile.TemporaryFile(dir=file.parent) as lines:
        yield lines
        names: set[str] = set()
        keys: set[str] = set()
        for device in _read(lines):
            try:
                device_csv.check(device)
            except ValueError as error:
                done.left_out[device["name"]] = str(error)
                done.devices -= 1
            else:
                names.update(device["fields"])
                keys.update(device_csv.attributes(device))
        written = DeviceTable(names, keys, with_credentials=with_credentials)
        output.write(written.head.encode())
        output.writelines(written.line(each).encode() for each in _read(lines) if each["name"] not in done.left_out)


def _read(lines: IO[bytes]) -> Iterator[dict[str, Any]]:
    lines.seek(0)
    return map(json.loads, lines)


def _show(done: Exported, file: Path, *, as_json: bool, with_credentials: bool) -> None:
    if as_json:
        tables.print_json({"file": str(file), **vars(done), "has_credentials": with_credentials})
    else:
        tables.echo(f"exported {done.devices:,} devices to {file}")
        _show_reasons(done.left_out.items(), "left out ")
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
    to date if it has the same credentials, and left alone if not; so an interrupted import is repeated, and a complete
    one changes nothing. What this server does not take is said of each device.
    """
    file_kinds.check(file, FileKind.DEVICES)
    with decoding.lines(file) as lines:
        count, wanted = device_files.check(lines(), str(file))
        profiles = await device_files.known_profiles(server, wanted)
        if missing := sorted(wanted - profiles.keys()):
            raise UsageError(f"no profile {', '.join(missing)}: move it first with bench profile export and import")
        customers = {each["title"]: id_of(each) for each in await server.customers()}
        done = Imported()
        devices = device_files.read(lines(), str(file))
        with progress.counting(f"importing {count:,} devices", quiet=as_json) as on_progress:
            while some := list(itertools.islice(devices, _AT_ONCE)):
                moved = await in_parallel(some, lambda each: device_files.store(server, each, profiles, customers))
                for each in moved:
                    done.add(each)
                    if not as_json and not each.failed:
                        tables.echo(f"created {each.name}" if each.created else _change(each))
                on_progress(done.count, count)
    done.show(as_json=as_json)
    if done.failed or done.incomplete:
        raise BenchError(
            f"of {done.count:,} devices {done.failed:,} were not imported, and {done.incomplete:,} not wholly"
        )


def _change(moved: Moved) -> str:
    return f"changed {moved.name}" if moved.changed else f"{moved.name} was there"


def _show_reasons(found: Iterable[tuple[str, str]], what: str = "") -> None:
    """Show reasons, each with its devices; one that many devices share is one line."""
    reasons: dict[str, list[str]] = {}
    for name, reason in found:
        reasons.setdefault(reason, []).append(name)
    for reason, names in sorted(reasons.items(), key=lambda each: -len(each[1])):
        tables.echo(f"  {what}{names[0]}{f' and {len(names) - 1:,} more' if len(names) > 1 else ''}: {reason}")
