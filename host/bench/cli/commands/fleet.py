"""`bench fleet`: many devices at once."""

import secrets
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import file_limits, paths
from bench.cli.options import board_setup
from bench.cli.options.board_setup import BoardOptions
from bench.cli.options.server_session import ServerSession, open_session, provisioning_facts
from bench.cli.render import fleet_tables, tables
from bench.cli.render.tables import DEFAULT_DATA, Json
from bench.contract.credentials import BoardCredentialsType
from bench.errors import BenchError, UsageError
from bench.flash.device_config import Claim, Transport
from bench.load import arrivals, boards, host_info, life, report, usage
from bench.load.arrivals import Arrival
from bench.load.boards import BoardFleet
from bench.load.light import Endpoint, LightFleet
from bench.load.report import Registered

_SPARE_FILES = 1000


@dataclass(frozen=True, kw_only=True)
class FleetPlan:
    """The devices of a fleet, and their arrival."""

    devices: int
    light: bool
    arrival: Arrival
    rate: float
    seed: int
    timeout_s: float
    leave: bool

    @property
    def title(self) -> str:
        """A description in words."""
        kind = "light devices" if self.light else "boards"
        arrived = {
            Arrival.ALL: "all at once",
            Arrival.POISSON: f"{self.rate:g} a second",
            Arrival.RESTART: "all at once, then back after a restart of the server",
        }
        return f"{self.devices:,} {kind}, {arrived[self.arrival]}"


@board_setup.with_board_options
def fleet(
    chosen: BoardOptions,
    context: typer.Context,
    devices: Annotated[int, typer.Option("-n", "--devices", min=1, max=100_000, help="Number of devices.")] = 200,
    light: Annotated[bool, typer.Option("--light", help="Simulate only the protocol, without boards.")] = False,
    arrival: Annotated[
        Arrival,
        typer.Option(
            help="all: at once; poisson: at random times; restart: at once, then the server restarts and all come back."
        ),
    ] = Arrival.ALL,
    rate: Annotated[float, typer.Option(min=0.001, max=1e6, help="With --arrival poisson: devices a second.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Seed for MACs, arrivals, and the waits of light devices.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="A device that is not online by then counts as failed.")
    ] = 300.0,
    leave: Annotated[
        bool, typer.Option("--leave", help="Switch each device off once it is online, instead of once all are.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Plot the times to this file: .svg or .png.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep everything: boards, the server's data, devices on the server.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Switch many blank devices on, check that each gets online exactly once, and measure how long that takes.

    Without --data, --server and --url, the command starts a temporary server and removes it with its data. On any
    other server, it deletes the devices at the end. Exit code 1 if a device did not get online.
    """
    plan = FleetPlan(
        devices=devices, light=light, arrival=arrival, rate=rate, seed=seed, timeout_s=timeout, leave=leave
    )
    _refuse(plan, chosen)
    if plot:
        from bench.load import plots  # noqa: PLC0415 - what draws takes a second to import

        plots.check(plot)
    file_limits.allow(
        _SPARE_FILES + devices * (1 if light else boards.FILES_EACH)
    )  # a temporary server inherits the limit
    conditions = host_info.conditions()
    with open_session(chosen, context, "fleet", keep=keep) as served:
        if arrival is Arrival.RESTART and not served.own:
            raise UsageError("--arrival restart needs the temporary server: leave out --server, --url and --data")
        prefix = f"fleet-{secrets.token_hex(3)}"  # not from the seed: the server may have the devices of an earlier run
        with served.tidied(prefix, keep=keep):
            found, lives = _run(plan, served, prefix, quiet=as_json)
    found = {
        "kind": "light" if light else "boards",
        **asdict(plan),
        **provisioning_facts(chosen),
        **found,
        "conditions": conditions,
    }
    if as_json:
        tables.print_json(found)
    else:
        fleet_tables.show(plan.title, found, lives)
        if keep:
            tables.echo(f"everything is kept in {served.folder}")
    if plot:
        plots.histogram(
            plot,
            {"first boot": report.times_s(lives, 0), "back after the restart": report.times_s(lives, 1)},
            title=plan.title,
            unit="s",
        )
    if not found["good"]:
        raise typer.Exit(1)


def _refuse(plan: FleetPlan, chosen: BoardOptions) -> None:
    if plan.arrival is Arrival.RESTART and plan.leave:
        raise UsageError("--arrival restart needs devices that stay on: leave out --leave")
    if not plan.light:
        return
    if chosen.transport is not Transport.MQTT or chosen.credentials is not BoardCredentialsType.ACCESS_TOKEN:
        raise UsageError(
            "light devices support only MQTT and access tokens: leave out --light, --transport or --credentials"
        )
    if chosen.server_made or chosen.claim is Claim.PROOF or chosen.after_refusals:
        raise UsageError("--server-made, --claim proof and --after-refusals need boards: leave out --light")


def _run(plan: FleetPlan, served: ServerSession, prefix: str, *, quiet: bool) -> tuple[dict[str, Any], list[life.Life]]:
    """Run the fleet; return the figures for JSON output, and the devices' lives."""
    usage_of_server = _ServerUsage(served)
    with _progress(plan.devices, quiet=quiet) as (on_made, on_progress):
        fleet = _light(plan, served, prefix) if plan.light else _boards(plan, served, prefix, on_made)
        moments = arrivals.moments(plan.arrival, plan.devices, rate=plan.rate, seed=plan.seed)
        started = time.monotonic()
        fleet.run(moments, usage_of_server.restart if plan.arrival is Arrival.RESTART else None, on_progress)
        took_s = time.monotonic() - started
        usage_of_server.note()
    if served.own and not served.own.is_running():
        tables.warn("the server ended before its devices did: run again with --keep, and see its server.log")
    registered = None
    try:
        registered = Registered.of(served.devices(prefix))
    except BenchError as error:
        tables.warn(str(error))
    lives = fleet.lives
    found = {
        "took_s": round(took_s, 3),
        "good": report.good(lives, registered),
        **report.figures(lives, registered),
        "consoles": _keep_consoles(fleet) if isinstance(fleet, BoardFleet) else None,
        "memory_bytes": {"devices": fleet.memory_bytes, "server": usage_of_server.memory_bytes},
        "cpu_used_s": {"devices": fleet.cpu_s, "server": usage_of_server.cpu_s},
    }
    return found, lives


def _boards(plan: FleetPlan, served: ServerSession, prefix: str, on_made: Callable[[int], None]) -> BoardFleet:
    made = boards.make(served.folder / "boards", plan.devices, served.files(prefix), seed=plan.seed, on_made=on_made)
    return BoardFleet(made, prefix=prefix, timeout_s=plan.timeout_s, leave=plan.leave)


def _light(plan: FleetPlan, served: ServerSession, prefix: str) -> LightFleet:
    prepared = served.prepared
    tls = None
    if prepared.chosen.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.load_verify_locations(cadata=prepared.place.ca)
        # the version that MicroPython supports
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_2
    endpoint = Endpoint(
        host=prepared.place.host,
        port=prepared.place.mqtt_port,
        key=prepared.key,
        tls=tls,
        name=prepared.place.name or prepared.place.host,
    )
    names = [f"{prefix}-{mac}" for mac in boards.macs(plan.devices, seed=plan.seed)]
    shown = list(zip(names, prepared.shown_secrets(names), strict=True))
    return LightFleet(endpoint, shown, seed=plan.seed, timeout_s=plan.timeout_s, leave=plan.leave)


class _ServerUsage:
    """CPU time and memory of the server's process, across a restart."""

    def __init__(self, served: ServerSession) -> None:
        self._served = served
        self._before_s = 0.0  # CPU time of processes that ended
        self.memory_bytes: int | None = None
        self.cpu_s: float | None = None
        self._at_first_s = self._now_s() or 0.0

    def restart(self) -> None:
        """Restart the server; return when it listens again."""
        assert self._served.own
        self.note()
        self._before_s, self._at_first_s = self.cpu_s or 0.0, 0.0
        self._served.own.stop()
        self._served.own.start()

    def note(self) -> None:
        """Record its usage so far."""
        now_s, peak = self._now_s(), usage.peak_bytes(self._served.pid) if self._served.pid else None
        if now_s is not None:
            self.cpu_s = round(self._before_s + now_s - self._at_first_s, 2)
        if peak is not None:
            self.memory_bytes = max(self.memory_bytes or 0, peak)

    def _now_s(self) -> float | None:
        return usage.cpu_s(self._served.pid) if self._served.pid else None


def _keep_consoles(fleet: BoardFleet) -> str | None:
    """Copy the consoles of failed boards; return the folder, or None if no board failed."""
    failed = [each for each in fleet.lives if each.error]
    if not failed:
        return None
    folder = Path(tempfile.mkdtemp(prefix="fleet-failed-", dir=paths.private_folder(DEFAULT_DATA)))
    for each in failed:
        shutil.copy(fleet.console(each), folder / f"{each.name}.log")
    return str(folder)


@contextmanager
def _progress(devices: int, *, quiet: bool) -> Iterator[tuple[Callable[[int], None], life.OnProgress]]:
    """Show a progress line on a terminal; yields callbacks for the number of boards made, and for their lives."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"), TimeElapsedColumn())
    hidden = quiet or not tables.console.is_terminal
    with Progress(*columns, console=tables.console, disable=hidden, transient=True) as progress:
        task = progress.add_task("", total=devices, counts="")

        def on_made(count: int) -> None:
            progress.update(task, completed=count, description="making boards", counts=f"{count} of {devices}")

        def on_progress(now: life.Progress) -> None:
            progress.update(
                task,
                completed=now.online,
                description="coming back" if now.back else "going online",
                counts=f"{now.on} on, {now.online} online, {now.failed} failed",
            )

        yield on_made, on_progress
