"""`bench provision`: many devices with their credentials, before their first boot."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Protocol

import typer

from bench.cli.commands import device_fields
from bench.cli.options import common, operator_session, serial_numbers
from bench.cli.options.operator_session import SERVER_OPTIONS, ServerOptions
from bench.cli.provision_output import (
    SERIAL,
    CsvLayout,
    FileOutput,
    Format,
    JsonLayout,
    Output,
    Row,
    part_of,
    standard_output,
)
from bench.cli.provision_rest import RestDevices
from bench.cli.provision_rows import Wanted
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.contract.templates import Template, Value
from bench.errors import UsageError
from bench.registry import data_folder
from bench.rest_client import ThingsBoard
from bench.text import printable

_MOST = 1_000_000
_IN_DOUBT = 1000


class Devices(Protocol):
    """The devices of one profile: in a registry, or on a server."""

    batch: int

    async def template(self) -> Template:
        """Return the template of the profile."""

    async def keys(self, names: Sequence[str]) -> tuple[str, list[str]]:
        """Return the profile's provisioning key, and the own keys of devices, which follow from its group key."""

    async def highest(self, stem: str) -> int:
        """Return the highest number of the devices that are called STEM and digits."""

    async def complete(self, rows: Sequence[Row], values: Mapping[str, Value]) -> list[Row]:
        """Make those devices that do not exist, and return the rows that are true then."""

    async def add(self, rows: Sequence[Row], output: Output, values: Mapping[str, Value]) -> None:
        """Make devices, except those whose names are taken; their rows are in the output first."""


@common.with_options(SERVER_OPTIONS, operator_session.server_options)
def provision(
    where: ServerOptions,
    device_type: Annotated[str, typer.Argument(metavar="TYPE", help="The devices' profile.")],
    count: Annotated[int, typer.Option(min=1, max=_MOST, help="How many devices to make.")] = 1,
    prefix: Annotated[str, typer.Option(help="What their names begin with.")] = "",
    derived: Annotated[
        bool,
        typer.Option(
            "--derived",
            help="Names are UUIDs, and access tokens follow from the profile's group key: boards need nothing but "
            "their own device key.",
        ),
    ] = False,
    assign: device_fields.FieldOption = [],  # noqa: B006
    serial: Annotated[
        str,
        typer.Option(
            "--serials", help="Their serial numbers: the first one, e.g. p-001, or a CSV file with a column serial."
        ),
    ] = "",
    associate: Annotated[
        bool, typer.Option("--associate", help="An association code for each, for its label: as of bench associate.")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=3650, help="With --associate: how long the codes are valid.")] = 365,
    output: Annotated[
        Path | None,
        typer.Option(help="The file to write, for its owner alone.", show_default="standard output"),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="The form of the output.")] = Format.JSON,
    database: Annotated[
        str,
        typer.Option(
            metavar="URL", help="The PostgreSQL database that the server was started with.", envvar="BENCH_DATABASE"
        ),
    ] = "",
    force: common.Force = False,
    as_json: Json = False,
) -> None:
    """Make devices with an MQTT password and an API key each, before their first boot.

    The output has all secrets; API keys are shown nowhere else. They are called {prefix}{type}-{NNN}, or as their
    profile's template has it; the numbers go on after those that are there. It works on the data folder, whether its
    server runs or not, and is safe to interrupt: the same command goes on with FILE.part. With --url it asks any
    ThingsBoard, device by device, which takes longer, and there are no API keys. With --derived the output has device
    keys instead of passwords, for bench flash --batch: the group key and the provisioning secret stay on the server.
    """
    if derived and prefix:
        raise UsageError("--derived makes names of UUIDs alone: leave out --prefix")
    written = device_fields.assignments("--field", assign)
    numbers = _serials(serial) if serial else None
    wanted = Wanted(
        device_type=device_type,
        prefix=prefix,
        count=count,
        is_derived=derived,
        written=written,
        serials=numbers,
        code_days=days if associate else 0,
    )
    _check(wanted)
    layout = CsvLayout(wanted.columns) if form is Format.CSV else JsonLayout(device_type, count, wanted.columns)
    if output is None:
        out = standard_output(layout)
        _run(where, database, wanted, out, lambda _done, _all: None)
        out.end()
        return
    common.check_new(output, force=force)
    file = FileOutput(part_of(output), layout, _IN_DOUBT)
    before = file.written
    if before:
        tables.note(f"going on with {part_of(output)}, which has {before:,} of {count:,} devices")
    with (
        closing(file),
        _interruptible(output),
        progress.counting(f"making {count:,} devices", quiet=as_json) as on_progress,
    ):
        _run(where, database, wanted, file, on_progress)
        file.finish(output, force=force)
    if as_json:
        facts = {"file": str(output), "device_type": device_type, "count": count, "made_before": before}
        tables.print_json(facts)
        return
    tables.echo(f"made {count:,} devices of {device_type}; {output} has their secrets: who has it can log in as each")


def _serials(text: str) -> Iterator[str]:
    """Yield serial numbers. Raises UsageError for those of certain boards: their devices are not known yet."""
    found = serial_numbers.read(text)
    if found.of_macs:
        raise UsageError(f"{text} has a column mac, which boards are found by: add it to the batch that is made")
    return filter(_printable, found.free)


def _printable(number: str) -> str:
    if not number.isprintable():
        raise UsageError(f"the serial number {printable(number)} has control characters: write it without")
    return number


def _check(wanted: Wanted) -> None:
    """Raise UsageError for names that no device can have."""
    for what, text in (("TYPE", wanted.device_type), ("--prefix", wanted.prefix)):
        if not text.isprintable():
            raise UsageError(f"{what} has control characters: write it without")
    stem = wanted.names.stem
    if stem != stem.lstrip() or not wanted.device_type:
        raise UsageError("TYPE is empty, or the names would begin with a space: write --prefix without one")


@contextmanager
def _interruptible(output: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        tables.warn(f"interrupted; run the same command to go on with {part_of(output)}")
        raise


def _run(
    where: ServerOptions, database: str, wanted: Wanted, output: Output, on_progress: Callable[[int, int], None]
) -> None:
    if where.url:
        if wanted.code_days:
            raise UsageError("--associate goes with --data; with --url bench associate makes the codes afterwards")
        if database:
            raise UsageError("--database goes with --data, not with --url: leave one of them out")

        async def over_rest(server: ThingsBoard) -> None:
            devices = RestDevices(server, wanted.device_type)
            await _make(devices, await _templated(devices, wanted), output, on_progress)

        operator_session.run_on_server(where, over_rest)
        return
    where.refuse_account(operator_session.OWN)

    async def make() -> None:
        async with _opened(where.data, database, wanted) as devices:
            await _make(devices, await _templated(devices, wanted), output, on_progress)

    asyncio.run(make())


async def _templated(devices: Devices, wanted: Wanted) -> Wanted:
    """Return the devices to make as their template has them. Raises Refused if the values of fields do not fit it."""
    template = await devices.template()
    found = replace(wanted, naming=template.naming, values=template.read_new(wanted.written))
    _check(found)
    return found


@asynccontextmanager
async def _opened(data: Path, database: str, wanted: Wanted) -> AsyncIterator[Devices]:
    from bench.cli import provision_registry  # noqa: PLC0415 - the database takes long to import

    for repaired in data_folder.secure(data):
        tables.warn(repaired)
    async with provision_registry.opened(data, database, wanted.device_type, code_days=wanted.code_days) as devices:
        yield devices


async def _make(devices: Devices, wanted: Wanted, output: Output, on_progress: Callable[[int, int], None]) -> None:
    """Make what is missing in the output, some devices at a time."""
    if output.recent:
        if wanted.serials is not None:
            wanted.skip_to(output.recent[-1][SERIAL])
        output.keep(await devices.complete(output.recent, wanted.values))
    number = 1 if wanted.is_derived else await devices.highest(wanted.names.stem) + 1
    while left := wanted.count - output.written:
        on_progress(output.written, wanted.count)
        rows: list[dict[str, str]] = [wanted.row(each) for each in range(number, number + min(left, devices.batch))]
        if wanted.is_derived:
            provision_key, keys = await devices.keys([row["device_id"] for row in rows])
            rows = [
                {**row, "provision_key": provision_key, "device_key": key} for row, key in zip(rows, keys, strict=True)
            ]
        await devices.add(rows, output, wanted.values)
        number += len(rows)
