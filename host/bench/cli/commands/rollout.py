"""`bench rollout`: a package for the devices of a profile, a few at first, then the others, until too many fail."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from bench.cli.options import rollout_rules
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, rollout_lines, tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.registry.rollout_states import DeviceState
from bench.rest_client import ThingsBoard
from bench.rest_client.packages import KINDS
from bench.rest_client.rollouts import shown_rollout_id

app = App(
    help="Rollouts: a package for the devices of a profile, a few at first, then the others, until too many fail.",
    epilog="Example: bench rollout start press 1.2.0 --profile press",
)

_POLL_S = 1.0
# Seconds after which a server that drives the rollout would have given a sign, twice over.
_SILENCE_S = 25.0
_SHOWN = (DeviceState.FAILED, DeviceState.LEFT_OUT, DeviceState.UPDATING)
_STATES = ", ".join(DeviceState)
Name = Annotated[
    str, typer.Argument(metavar="ID", help="The rollout's id, or the beginning of it; or its profile: the newest one.")
]


@app.command(epilog="Example: bench rollout start press 1.2.0 --profile press --canary 10 --stop-at 1%")
@with_server()
async def start(
    server: ThingsBoard,
    title: Annotated[str, typer.Argument(help="The package's title.")],
    version: Annotated[str, typer.Argument(help="The package's version.")],
    profile: Annotated[str, typer.Option(metavar="NAME", help="The profile whose devices get it.")],
    kind: Annotated[str, typer.Option(metavar="fw|sw", help="Refuse a package of the other kind.")] = "",
    where: Annotated[
        list[str],
        typer.Option(
            metavar="ATTRIBUTE=VALUE", help="Only devices with this attribute; VALUE is JSON or text. Repeatable: all."
        ),
    ] = [],  # noqa: B006
    canary: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Devices that must be healthy before others begin.")
    ] = 5,
    rate: Annotated[
        str, typer.Option(metavar="RATE", help="Devices that begin in a time: 60/min, 1/s, 500/h.")
    ] = "60/min",
    at_most: Annotated[int, typer.Option(min=1, max=1000, help="Devices under way at once.")] = 20,
    stop_at: Annotated[
        str,
        typer.Option(
            metavar="SHARE|NUMBER",
            help="Stop at this share of failures (of 5 results or more), or at this number: 2% or 10.",
        ),
    ] = "2%",
    patience: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="Time for a device, from its assignment to its result.")
    ] = "30m",
    then_profile: Annotated[
        bool, typer.Option("--then-profile", help="After a success of all, assign the package to the profile, too.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once: the server goes on by itself.")] = False,
    as_json: Json = False,
) -> None:
    """Roll a package out to devices of a profile that do not have it yet.

    The first devices (--canary) come alone. The others follow when these are healthy: they reported UPDATED, and the
    right version. A device that fails, or is silent for too long, gets back what it had, and its cause is kept. Ctrl-C
    ends only the display.
    """
    if kind not in ("", *KINDS):
        raise UsageError(f"--kind {kind}: choose fw or sw")
    rules = {
        **rollout_rules.rate(rate),
        **rollout_rules.stop_at(stop_at),
        **rollout_rules.timeout(patience),
        "attributes": rollout_rules.attributes(where),
        "canary": canary,
        "atMost": at_most,
        "thenProfile": then_profile,
    }
    package, owner = await server.package(title, version), await server.profile(profile)
    if kind and package["type"] != KINDS[kind]:
        raise UsageError(f"{title} {version} is a package of the other kind: leave out --kind {kind}")
    rollout = await server.start_rollout(package, owner, **rules)
    if not as_json:
        tables.echo(
            f"rollout {shown_rollout_id(rollout)}: {rollout_lines.package(rollout)} for {rollout['devices']:,} devices"
        )
    if no_wait:
        if as_json:
            tables.print_json(rollout_lines.facts(rollout))
        return
    ended = await _follow(server, rollout, quiet=as_json)
    if as_json:
        tables.print_json(rollout_lines.facts(ended))
    else:
        await _show_devices(server, ended, [DeviceState.FAILED, DeviceState.LEFT_OUT])
        tables.echo(f"{ended['state']}: {rollout_lines.counts(ended)}")
    if ended["state"] == "stopped":
        raise BenchError(f"rollout {shown_rollout_id(ended)} was stopped: {ended['reason']}")
    if ended["failed"]:
        raise BenchError(f"{ended['failed']} of {ended['devices']} devices failed: start it again once they can do it")


async def _follow(server: ThingsBoard, rollout: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Show how far a rollout is until it is over; return it as it is then."""
    sign, since = None, time.monotonic()
    shown = shown_rollout_id(rollout)
    try:
        with progress.described(quiet=quiet) as on_progress:
            while rollout["endedTime"] is None:
                done = sum(int(rollout[each]) for each in ("updated", "failed", "leftOut"))
                on_progress(
                    done, max(1, int(rollout["devices"])), f"{rollout['state']}: {rollout_lines.counts(rollout)}"
                )
                if rollout["lastSignTime"] != sign:
                    sign, since = rollout["lastSignTime"], time.monotonic()
                elif time.monotonic() - since > _SILENCE_S:
                    raise BenchError(f"no server drives rollout {shown}: start bench serve, which goes on with it")
                await asyncio.sleep(_POLL_S)
                rollout = await server.refreshed(rollout)
    except asyncio.CancelledError:
        tables.note(f"rollout {shown} goes on: bench rollout show {shown}, or bench rollout stop {shown}")
        raise
    return rollout


@app.command("list", epilog="Example: bench rollout list --json")
@with_server()
async def list_rollouts(server: ThingsBoard, as_json: Json = False) -> None:
    """List the rollouts, the newest first."""
    rows = [rollout_lines.row(each) for each in await server.rollouts()]
    empty = "No rollouts: bench rollout start TITLE VERSION --profile NAME."
    tables.table(rows, as_json=as_json, empty=empty, whole=("id", "state"))


@app.command(epilog="Example: bench rollout show 3f0c9a1e --state failed")
@with_server()
async def show(
    server: ThingsBoard,
    rollout: Name,
    state: Annotated[
        list[str], typer.Option(metavar="STATE", help=f"Only devices in this state: {_STATES}. Repeatable.")
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Show how far a rollout is, and its devices: by default those that are under way, failed, or left out."""
    for each in state:
        if each not in set(DeviceState):
            raise UsageError(f"--state {each}: choose from {_STATES}")
    found = await server.rollout(rollout)
    if as_json:
        devices = await server.rollout_devices(found, state)
        tables.print_json({**rollout_lines.facts(found), "device_results": list(map(rollout_lines.device, devices))})
        return
    tables.facts(rollout_lines.facts(found), as_json=False)
    await _show_devices(server, found, state or _SHOWN)


async def _show_devices(server: ThingsBoard, rollout: dict[str, Any], states: Sequence[str]) -> None:
    rows = [rollout_lines.device(each) for each in await server.rollout_devices(rollout, states)]
    if rows:
        tables.table(rows, as_json=False, empty="")


@app.command(epilog="Example: bench rollout pause 3f0c9a1e")
@with_server()
async def pause(server: ThingsBoard, rollout: Name) -> None:
    """Have no further device begin for now; those that are under way go on."""
    await _control(server, rollout, "pause")


@app.command(epilog="Example: bench rollout resume 3f0c9a1e")
@with_server()
async def resume(server: ThingsBoard, rollout: Name) -> None:
    """Go on with a paused rollout."""
    await _control(server, rollout, "resume")


@app.command(epilog="Example: bench rollout stop 3f0c9a1e")
@with_server()
async def stop(server: ThingsBoard, rollout: Name) -> None:
    """Stop a rollout for good. Devices that have not begun get back what they had; the others go on to their end."""
    await _control(server, rollout, "stop")


async def _control(server: ThingsBoard, name: str, action: str) -> None:
    found = await server.control_rollout(await server.rollout(name), action)
    tables.echo(f"rollout {shown_rollout_id(found)} is {found['state']}: {rollout_lines.counts(found)}")
