"""`bench provision`: many devices with their credentials, before their first boot."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from bench.cli.commands import device_fields
from bench.cli.options import common, operator_session, serial_numbers
from bench.cli.options.operator_session import SERVER_OPTIONS, ServerOptions
from bench.cli.provision_output import (
    COLUMNS,
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
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.contract.issued import IssuedCredentials, username
from bench.contract.naming import NumberedNames
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

    async def highest(self, stem: str) -> int:
        """Return the highest number of the devices that are called STEM and digits."""

    async def complete(self, rows: Sequence[Row], values: Mapping[str, Value]) -> list[Row]:
        """Make those devices that do not exist, and return the rows that are true then."""

    async def add(self, rows: Sequence[Row], output: Output, values: Mapping[str, Value]) -> None:
        """Make devices, except those whose names are taken; their rows are in the output first."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The devices to make, named after the pattern of their profile's template."""

    device_type: str
    prefix: str
    count: int
    written: Mapping[str, str] = field(default_factory=dict)
    """The texts of `--field`, by the names of the fields."""
    naming: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    """Their own values of the template's fields."""
    serials: Iterator[str] | None = None
    """Their serial numbers; None if they have none."""

    @property
    def names(self) -> NumberedNames:
        """The devices' names."""
        return NumberedNames(self.naming, self.device_type, self.prefix)

    def row(self, number: int) -> dict[str, str]:
        """Return a device with new secrets."""
        name = self.names.name(number)
        issued = IssuedCredentials.random(username(self.device_type, name))
        return {
            "device_id": name,
            "name": f"{self.device_type} {self.names.number(number)}",
            "device_type": self.device_type,
            "mqtt_username": issued.mqtt_username,
            "mqtt_password": issued.mqtt_password,
            "api_key": issued.api_key,
            **({} if self.serials is None else {SERIAL: self._serial()}),
        }

    def _serial(self) -> str:
        assert self.serials
        if found := next(self.serials, None):
            return found
        raise UsageError("there are fewer serial numbers than devices: --serials names too few")

    def skip_to(self, last: str) -> None:
        """Leave out serial numbers up to the last one that is in the output."""
        while self._serial() != last:
            pass


@common.with_options(SERVER_OPTIONS, operator_session.server_options)
def provision(
    where: ServerOptions,
    device_type: Annotated[str, typer.Argument(metavar="TYPE", help="The devices' profile.")],
    count: Annotated[int, typer.Option(min=1, max=_MOST, help="How many devices to make.")] = 1,
    prefix: Annotated[str, typer.Option(help="What their names begin with.")] = "",
    assign: device_fields.FieldOption = [],  # noqa: B006
    serial: Annotated[
        str,
        typer.Option(
            "--serials", help="Their serial numbers: the first one, e.g. p-001, or a CSV file with a column serial."
        ),
    ] = "",
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
    ThingsBoard, device by device, which takes longer, and there are no API keys.
    """
    written = device_fields.assignments("--field", assign)
    numbers = _serials(serial) if serial else None
    wanted = Wanted(device_type=device_type, prefix=prefix, count=count, written=written, serials=numbers)
    _check(wanted)
    columns = COLUMNS if numbers is None else (*COLUMNS, SERIAL)
    layout = CsvLayout(columns) if form is Format.CSV else JsonLayout(device_type, count, columns)
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
        if database:
            raise UsageError("--database goes with --data, not with --url: leave one of them out")

        async def over_rest(server: ThingsBoard) -> None:
            devices = RestDevices(server, wanted.device_type)
            await _make(devices, await _templated(devices, wanted), output, on_progress)

        operator_session.run_on_server(where, over_rest)
        return
    where.refuse_account(operator_session.OWN)

    async def make() -> None:
        async with _opened(where.data, database, wanted.device_type) as devices:
            await _make(devices, await _templated(devices, wanted), output, on_progress)

    asyncio.run(make())


async def _templated(devices: Devices, wanted: Wanted) -> Wanted:
    """Return the devices to make as their template has them. Raises Refused if the values of fields do not fit it."""
    template = await devices.template()
    found = replace(wanted, naming=template.naming, values=template.read_new(wanted.written))
    _check(found)
    return found


@asynccontextmanager
async def _opened(data: Path, database: str, profile: str) -> AsyncIterator[Devices]:
    from bench.cli import provision_registry  # noqa: PLC0415 - the database takes long to import

    for repaired in data_folder.secure(data):
        tables.warn(repaired)
    async with provision_registry.opened(data, database, profile) as devices:
        yield devices


async def _make(devices: Devices, wanted: Wanted, output: Output, on_progress: Callable[[int, int], None]) -> None:
    """Make what is missing in the output, some devices at a time."""
    if output.recent:
        if wanted.serials is not None:
            wanted.skip_to(output.recent[-1][SERIAL])
        output.keep(await devices.complete(output.recent, wanted.values))
    number = await devices.highest(wanted.names.stem) + 1
    while left := wanted.count - output.written:
        on_progress(output.written, wanted.count)
        rows: list[dict[str, Any]] = [wanted.row(each) for each in range(number, number + min(left, devices.batch))]
        await devices.add(rows, output, wanted.values)
        number += len(rows)
