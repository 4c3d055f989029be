"""`bench measure`: how long a first boot takes."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.cli.options import board_setup, server_addresses, server_session
from bench.cli.options.board_setup import Setup
from bench.cli.options.operator_session import Where, ask
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.contract.events import MILESTONES
from bench.errors import BenchError, NotFound, UsageError
from bench.load import boot_times as rounds_of
from bench.load import host_info
from bench.load.boot_times import OnPort, Round, Rounds
from bench.load.statistics import spread

_WARM_UP = 1
_DIGITS = 3
_TABLE = ("p50", "p95", "max")
_WORDS = {
    "boot": "first line",
    "link_up": "link",
    "key_made": "key made",
    "pending_stored": "pending stored",
    "answer": "answer",
    "provisioned": "provisioned",
    "connected": "connected",
    "telemetry": "telemetry",
}


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where rounds take place, and what is known of it."""

    rounds: Rounds
    facts: dict[str, Any] = field(default_factory=dict)


@board_setup.sets_up
def measure(
    chosen: Setup,
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", "--rounds", min=1, max=100_000, help="How many first boots.")] = 100,
    target: Annotated[
        str,
        typer.Option(help="unix: virtual boards; virtual: those behind a serial line; or the port of a board."),
    ] = "unix",
    seed: Annotated[int, typer.Option(help="Of virtual boards: another one has other MACs.")] = 0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds after which a round has failed.")] = 60.0,
    plot: Annotated[Path | None, typer.Option(help="A picture of it: .svg or .png.", show_default="none")] = None,
    as_json: Json = False,
) -> None:
    """Measure first boots: from power-on to link, provisioned, and the first telemetry that is acknowledged.

    Virtual boards are new each round, and their server is one of its own unless --data, --server or --url say
    another. A board on a port has to be flashed and online: its credentials are wiped and its device deleted before
    each round, and its settings say how it provisions itself. Exit code 1 if a round failed. See docs/measuring.md.
    """
    if plot:
        from bench.load import plots  # noqa: PLC0415 - what draws takes a second to import

        plots.check(plot)
    conditions = host_info.conditions()
    with _place(chosen, context, target, rounds=count + _WARM_UP, seed=seed, timeout_s=timeout) as place:
        done = _run(place.rounds, count, timeout, quiet=as_json)
    good = [each for each in done if not each.error]
    kind = target if target in ("unix", "virtual") else "port"
    said = (good or done)[0].said
    found = {
        "n": len(good),
        "target": kind,
        **place.facts,
        "warm_up": _WARM_UP,
        "seed": None if kind == "port" else seed,
        "failed": [each.error for each in done if each.error],
        "attempts": [each.attempts for each in good],
        **_figures(good),
        "rounds_ms": [_rounded(each.at_ms) for each in good],
        "firmware": said.get("firmware"),
        "micropython": said.get("micropython"),
        "conditions": conditions,
    }
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    if plot and good:
        plots.phases(
            plot,
            [{_WORDS[step]: ms for step, ms in each.at_ms.items()} for each in good],
            title=f"First boot, {kind}, {_way(found)} (n = {len(good)})",
            unit="ms",
        )
    if len(good) < count:
        raise typer.Exit(1)


@contextmanager
def _place(
    chosen: Setup, context: typer.Context, target: str, *, rounds: int, seed: int, timeout_s: float
) -> Iterator[_Place]:
    if target not in ("unix", "virtual"):
        if given := [each for each in board_setup.NAMES if server_session.was_given(context, each)]:
            raise UsageError(
                f"the settings of the board on {target} say how it provisions itself: "
                f"leave out --{given[0].replace('_', '-')}"
            )
        with OnPort(target, _deleter(chosen.where), timeout_s=timeout_s) as port:
            provision, server = port.settings.get("provision", {}), port.settings.get("server", {})
            facts = {
                "transport": provision.get("transport", "mqtt"),
                "tls": server.get("tls", False),
                "credentials": provision.get("credentials", "ACCESS_TOKEN"),
            }
            yield _Place(rounds=port.switch_on, facts=facts)
        return
    with server_session.at_server(chosen, context, "measure", keep=False) as served:
        prefix = f"measure-{secrets.token_hex(3)}"
        make = rounds_of.on_unix if target == "unix" else rounds_of.on_line
        made = make(served.folder / "boards", served.files(prefix), rounds=rounds, seed=seed)
        with served.tidied(prefix, keep=False):
            yield _Place(rounds=made, facts=server_session.ways(chosen))


def _deleter(where: Where) -> Any:
    if not where.url and not server_addresses.of_running(where.data):
        raise BenchError(
            f"no server runs on {where.data}, where the board's device is to be deleted: name it with --data or --url"
        )

    def delete(name: str) -> None:
        try:
            ask(where, lambda server: server.delete_device(name))
        except NotFound:
            return

    return delete


def _run(rounds: Rounds, count: int, timeout_s: float, *, quiet: bool) -> list[Round]:
    """The rounds that count: the first one, which finds nothing ready, does not."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeRemainingColumn())
    hidden = quiet or not tables.console.is_terminal
    done = []
    with Progress(*columns, console=tables.console, disable=hidden, transient=True) as progress:
        for number in progress.track(range(count + _WARM_UP), description="first boots"):
            with rounds(number) as board:
                done.append(rounds_of.watch(board, timeout_s))
    return done[_WARM_UP:]


def _figures(good: list[Round]) -> dict[str, Any]:
    """Milliseconds: since power-on, of each phase, and by the boards' own clocks."""
    return {
        "from_power_on_ms": _steps([each.at_ms for each in good]),
        "phases_ms": _steps([rounds_of.phases_ms(each.at_ms) for each in good]),
        "by_own_clock_ms": _steps([{step: float(ms) for step, ms in each.own_ms.items()} for each in good]),
    }


def _steps(rounds: list[dict[str, float]]) -> dict[str, Any]:
    found = {}
    for step in MILESTONES:
        if values := spread([each[step] for each in rounds if step in each]):
            found[step] = values.rounded(_DIGITS)
    return found


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {step: round(ms, _DIGITS) for step, ms in values.items()}


def _way(found: dict[str, Any]) -> str:
    return f"{found['transport']}{' and TLS' if found['tls'] else ''}, {found['credentials']}"


def _show(found: dict[str, Any]) -> None:
    conditions = found["conditions"]
    tables.console.print(
        f"[bold]First boot, {found['target']}[/bold], {_way(found)}, n = {found['n']}\n"
        f"[dim]firstboot {conditions['firstboot']}, MicroPython {found['micropython']}, {conditions['system']}, "
        f"{conditions['cpus']} CPUs, load {conditions['load_average_1_min']}[/dim]\n"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("\n\nms")
    for head in ("since\npower-on", "\n", "\n", "of\nthese", "\n", "\n", "own\nclock"):
        table.add_column(f"{head}\n{_TABLE[len(table.columns) % 3 - 1]}", justify="right")
    for step, values in found["from_power_on_ms"].items():
        table.add_row(
            _WORDS[step],
            *(f"{values[each]:.1f}" for each in _TABLE),
            *(f"{found['phases_ms'][step][each]:.1f}" for each in _TABLE),
            f"{found['by_own_clock_ms'][step]['p50']:.0f}",
        )
    tables.draw(table, folds=False)
    if again := sum(each > 1 for each in found["attempts"]):
        tables.say(f"{again} of {found['n']} took more than one attempt: their waits are in the figures")
    for why in found["failed"]:
        tables.say(f"failed, and not in the figures: {why}")
