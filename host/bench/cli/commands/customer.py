"""`bench customer`: customers, to whom devices are assigned."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from bench.cli.options import keyboard
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.errors import BenchError
from bench.rest_client import ThingsBoard, attempted, id_of, in_parallel

app = App(
    help="Customers, whose users see the devices that are assigned to them.",
    epilog="Example: bench customer assign Acme press-4",
)

Devices = Annotated[list[str], typer.Argument(metavar="DEVICE...", help="Names of devices.")]


@app.command("list", epilog="Example: bench customer list --json")
@with_server()
async def list_customers(server: ThingsBoard, as_json: Json = False) -> None:
    """List the customers."""
    rows = [
        {"title": each["title"], "created": tables.utc_time(each["createdTime"])} for each in await server.customers()
    ]
    tables.table(rows, as_json=as_json, empty="No customers yet: bench customer create TITLE.", whole=("created",))


@app.command(epilog="Example: bench customer create 'Acme Ltd'")
@with_server()
async def create(server: ThingsBoard, title: str, as_json: Json = False) -> None:
    """Make a customer. Its users are made with bench user create --customer."""
    made = await server.create_customer(title)
    shown = {"title": made["title"], "created": tables.utc_time(made["createdTime"])}
    tables.facts(shown, as_json=as_json, done=f"created customer {title}")


@app.command(epilog="Example: bench customer delete 'Acme Ltd'")
@with_server()
async def delete(
    server: ThingsBoard,
    title: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a customer and their users. Their devices stay, assigned to nobody."""
    await server.customer(title)
    if not yes:
        keyboard.confirm(f"Delete {title} and their users?", "nothing was deleted")
    await server.delete_customer(title)
    tables.echo(f"deleted {title}")


@app.command(epilog="Example: bench customer assign 'Acme Ltd' press-4 press-5")
@with_server()
async def assign(server: ThingsBoard, title: str, devices: Devices) -> None:
    """Hand devices to a customer."""
    customer_id = id_of(await server.customer(title))
    await _each(server, devices, lambda each: server.assign(customer_id, each), f"assigned {{}} to {title}")


@app.command(epilog="Example: bench customer unassign press-4")
@with_server()
async def unassign(server: ThingsBoard, devices: Devices) -> None:
    """Take devices back from their customers."""
    await _each(server, devices, server.unassign, "took back {}")


async def _each(server: ThingsBoard, devices: list[str], work: Callable[[str], Awaitable[None]], done: str) -> None:
    """Change devices, and name those that were changed. Raises BenchError for the others."""
    names = list(dict.fromkeys(devices))
    ids = await in_parallel(names, server.device_id)  # all of them have to be there before one is changed
    errors = await attempted(ids, work)
    for name, error in zip(names, errors, strict=True):
        if error is None:
            tables.echo(done.replace("{}", name, 1))
    if failed := [f"{name}: {error}" for name, error in zip(names, errors, strict=True) if error]:
        raise BenchError("; ".join(failed))
