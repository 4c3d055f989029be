"""`bench hook`: URLs that are sent what happens to devices."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli.options import common, keyboard
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.registry.event_kinds import HookEvent
from bench.rest_client import ThingsBoard
from bench.rest_client.hooks import SHOWN_ID, shown_hook_id

app = App(
    help="Webhooks: URLs that are sent what happens to devices, signed, and again until they have it.",
    epilog="Example: bench hook add https://hooks.example/firstboot --on provisioned,refused",
)

_EVENTS = ", ".join(HookEvent)
Hook = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, or the beginning of it.")]


@app.command(epilog="Example: bench hook add https://hooks.example/firstboot --on provisioned,refused")
@with_server()
async def add(
    server: ThingsBoard,
    receiver: Annotated[
        str, typer.Argument(metavar="URL", help="Where events are sent by POST: https://, or http://.")
    ],
    on: Annotated[str, typer.Option(metavar="EVENTS", help=f"Separated by commas: {_EVENTS}; all.")],
    secret_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the secret there, for you alone, instead of showing it."),
    ] = None,
    force: common.Force = False,
    as_json: Json = False,
) -> None:
    """Have events sent to a URL. The secret of the signatures is shown this once."""
    events = _events(on)
    if secret_file:
        common.check_new(secret_file, force=force)
    made = await server.add_hook(receiver, events)
    secret = str(made["secret"])
    if secret_file:
        paths.write_private(secret_file, f"{secret}\n".encode())
    shown = {"secret_file": str(secret_file)} if secret_file else {"secret": secret}
    tables.facts({**_view(made), **shown}, as_json=as_json)


def _events(text: str) -> list[str]:
    found = [each.strip() for each in text.split(",") if each.strip()]
    if found == ["all"]:
        return [each.value for each in HookEvent]
    for each in found:
        if each not in set(HookEvent):
            raise UsageError(f"no event {each}: choose from {_EVENTS}, or all")
    if not found:
        raise UsageError(f"--on needs an event: {_EVENTS}, or all")
    return list(dict.fromkeys(found))


def _view(hook: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": shown_hook_id(hook),
        "url": hook["url"],
        "events": ",".join(hook["events"]),
        "state": "enabled" if hook["enabled"] else "disabled",
        "waiting": hook["waiting"],
        "dead": hook["dead"],
        "created": tables.utc_time(hook["createdTime"]),
    }


@app.command("list", epilog="Example: bench hook list --json")
@with_server()
async def list_hooks(server: ThingsBoard, as_json: Json = False) -> None:
    """List the webhooks, with how many events wait for each, and how many could not be sent."""
    rows = [_view(each) for each in await server.hooks()]
    tables.table(rows, as_json=as_json, empty="No webhooks: bench hook add URL --on EVENTS.", whole=("id", "state"))


@app.command(epilog="Example: bench hook remove 3f0c9a1e")
@with_server()
async def remove(
    server: ThingsBoard,
    hook: Hook,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Send nothing more to a URL. What waits for it is gone."""
    found = await server.hook(hook)
    if not yes:
        keyboard.confirm(f"Remove the webhook {found['url']}?", "it was not removed")
    await server.remove_hook(str(found["id"]))
    tables.echo(f"removed the webhook {shown_hook_id(found)}")


@app.command(epilog="Example: bench hook enable 3f0c9a1e")
@with_server()
async def enable(server: ThingsBoard, hook: Hook) -> None:
    """Send events again to a URL that answered 410 (Gone)."""
    found = await server.enable_hook(hook)
    tables.echo(f"the webhook {shown_hook_id(found)} is enabled; bench hook replay --all sends what it missed")


@app.command(epilog="Example: bench hook test 3f0c9a1e")
@with_server()
async def test(server: ThingsBoard, hook: Hook) -> None:
    """Send an event for a test, once, and say what came of it."""
    problem = await server.test_hook(hook)
    if problem:
        raise BenchError(
            f"the test was not received ({problem}): look at the receiver, and at the URL in bench hook list"
        )
    tables.echo("received")


@app.command(epilog="Example: bench hook dead --json")
@with_server()
async def dead(
    server: ThingsBoard,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, at most.")] = 100,
    as_json: Json = False,
) -> None:
    """List the events that could not be sent, the newest first."""
    rows = [
        {
            "id": each["id"],
            "hook": str(each["hookId"])[:SHOWN_ID],
            "event": each["event"],
            "tries": each["tries"],
            "result": each["result"],
            "created": tables.utc_time(each["createdTime"]),
        }
        for each in await server.dead_letters(limit)
    ]
    tables.table(rows, as_json=as_json, empty="No dead letters.", whole=("id", "hook", "event", "created"))


@app.command(epilog="Example: bench hook replay --all")
@with_server()
async def replay(
    server: ThingsBoard,
    letter: Annotated[
        str, typer.Argument(metavar="[ID]", help="The id of a dead letter (bench hook dead).", show_default=False)
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
) -> None:
    """Send dead letters again, as often as if they were new."""
    if bool(letter) == every:
        raise UsageError("name a dead letter by its id (bench hook dead), or give --all")
    number = await server.replay(letter)
    tables.echo(f"{number} {'event is' if number == 1 else 'events are'} sent again")
