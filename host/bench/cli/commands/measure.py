"""`bench measure`: the duration of a first boot, phase by phase."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.cli.options import board_setup, common, server_addresses, server_session
from bench.cli.options.board_setup import BoardOptions
from bench.cli.options.operator_session import ServerOptions, run_on_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.contract.events import MILESTONES
from bench.errors import BenchError, NotFound, UsageError
from bench.load import boot_times as rounds_of
from bench.load import host_info
from bench.load.boot_times import OnPort, Round, Rounds
from bench.load.statistics import Summary

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
class _Source:
    """The source of rounds, and facts about how they provision."""

    rounds: Rounds
    facts: dict[str, Any] = field(default_factory=dict)


@board_setup.with_board_options
def measure(
    chosen: BoardOptions,
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", "--rounds", min=1, max=100_000, help="Number of first boots.")] = 100,
    target: Annotated[
        str,
        typer.Option(
            metavar="unix|virtual|PORT",
            help="unix: virtual boards; virtual: the same behind a serial line; or a board's port.",
        ),
    ] = "unix",
    seed: Annotated[int, typer.Option(help="Seed for the MACs of virtual boards.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="After this a round counts as failed.")
    ] = 60.0,
    plot: Annotated[Path | None, typer.Option(help="Plot the phases to this file: .svg or .png.")] = None,
    as_json: Json = False,
) -> None:
    """Measure first boots: from power-on to link, provisioned, and the first acknowledged telemetry.

    Each round uses a new virtual board, and a temporary server unless --data, --server or --url name another. A
    board on a port must be flashed and online: before each round, its credentials are wiped and its device is
    deleted; its settings decide how it provisions. Exit code 1 if a round failed.
    """
    if plot:
        from bench.load import plots  # noqa: PLC0415 - what draws takes a second to import

        plots.check(plot)
    conditions = host_info.conditions()
    with _source(chosen, context, target, rounds=count + _WARM_UP, seed=seed, timeout_s=timeout) as source:
        done = _run(source.rounds, count, timeout, quiet=as_json)
    good = [each for each in done if not each.error]
    kind = target if target in ("unix", "virtual") else "port"
    boot = (good or done)[0].reported
    found = {
        "n": len(good),
        "target": kind,
        **source.facts,
        "warm_up": _WARM_UP,
        "seed": None if kind == "port" else seed,
        "failed": [each.error for each in done if each.error],
        "attempts": [each.attempts for each in good],
        **_figures(good),
        "rounds_ms": [_rounded(each.at_ms) for each in good],
        "firmware": boot.get("firmware"),
        "micropython": boot.get("micropython"),
        "conditions": conditions,
    }
    if as_json:
        tables.print_json(found)
    else:
        _show(found)
    if plot and good:
        plots.phases(
            plot,
            [{_WORDS[step]: ms for step, ms in each.at_ms.items()} for each in good],
            title=f"First boot, {kind}, {_description(found)} (n = {len(good)})",
            unit="ms",
        )
    if len(good) < count:
        raise typer.Exit(1)


@contextmanager
def _source(
    chosen: BoardOptions, context: typer.Context, target: str, *, rounds: int, seed: int, timeout_s: float
) -> Iterator[_Source]:
    if target not in ("unix", "virtual"):
        if given := [each for each in board_setup.NAMES if common.was_given(context, each)]:
            raise UsageError(
                f"the board on {target} provisions as its settings say: leave out --{given[0].replace('_', '-')}"
            )
        with OnPort(target, _deleter(chosen.where), timeout_s=timeout_s) as port:
            provision, server = port.settings.get("provision", {}), port.settings.get("server", {})
            facts = {
                "transport": provision.get("transport", "mqtt"),
                "tls": server.get("tls", False),
                "credentials": provision.get("credentials", "ACCESS_TOKEN"),
            }
            yield _Source(rounds=port.switch_on, facts=facts)
        return
    with server_session.open_session(chosen, context, "measure", keep=False) as served:
        prefix = f"measure-{secrets.token_hex(3)}"
        make = rounds_of.on_unix if target == "unix" else rounds_of.on_line
        made = make(served.folder / "boards", served.files(prefix), rounds=rounds, seed=seed)
        with served.tidied(prefix, keep=False):
            yield _Source(rounds=made, facts=server_session.provisioning_facts(chosen))


def _deleter(where: ServerOptions) -> Any:
    if not where.url and not server_addresses.running_server(where.data):
        raise BenchError(
            f"no server runs on {where.data}, which must delete the board's device: name it with --data or --url"
        )

    shown = cache(lambda name: tables.note(f"deletes {name} before each round"))

    def delete(name: str) -> None:
        try:
            run_on_server(where, lambda server: server.delete_device(name))
        except NotFound:
            return
        shown(name)

    return delete


def _run(rounds: Rounds, count: int, timeout_s: float, *, quiet: bool) -> list[Round]:
    """Run the rounds; drop the first one, which starts with cold caches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeRemainingColumn())
    hidden = quiet or not tables.console.is_terminal
    done = []
    with Progress(*columns, console=tables.console, disable=hidden, transient=True) as progress:
        for number in progress.track(range(count + _WARM_UP), description="first boots"):
            with rounds(number) as board:
                done.append(rounds_of.watch(board, timeout_s))
    return done[_WARM_UP:]


def _figures(good: list[Round]) -> dict[str, Any]:
    """Return statistics in milliseconds: since power-on, for each phase, and by the boards' own clocks."""
    return {
        "from_power_on_ms": _steps([each.at_ms for each in good]),
        "phases_ms": _steps([rounds_of.phases_ms(each.at_ms) for each in good]),
        "by_own_clock_ms": _steps([{step: float(ms) for step, ms in each.own_ms.items()} for each in good]),
    }


def _steps(rounds: list[dict[str, float]]) -> dict[str, Any]:
    found = {}
    for step in MILESTONES:
        if values := Summary.of([each[step] for each in rounds if step in each]):
            found[step] = values.rounded(_DIGITS)
    return found


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {step: round(ms, _DIGITS) for step, ms in values.items()}


def _description(found: dict[str, Any]) -> str:
    return f"{found['transport']}{' and TLS' if found['tls'] else ''}, {found['credentials']}"


def _show(found: dict[str, Any]) -> None:
    conditions = found["conditions"]
    tables.console.print(
        f"[bold]First boot, {tables.shown(found['target'])}[/bold], {_description(found)}, n = {found['n']}\n"
        f"[dim]firstboot {conditions['firstboot']}, MicroPython {tables.shown(found['micropython'])}, "
        f"{tables.shown(conditions['system'])}, "
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
        tables.echo(f"{again} of {found['n']} needed more than one attempt: the figures include their waits")
    for why in found["failed"]:
        tables.echo(f"failed, not in the figures: {why}")
