"""`bench customer`: customers, to whom devices are assigned."""

from typing import Annotated

import typer

from bench.cli.options import keyboard
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.rest_client import ThingsBoard, id_of, in_parallel

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
    tables.facts({"title": made["title"], "created": tables.utc_time(made["createdTime"])}, as_json=as_json)


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
    ids = await in_parallel(devices, server.device_id)
    await in_parallel(ids, lambda each: server.assign(customer_id, each))
    for each in devices:
        tables.echo(f"assigned {each} to {title}")


@app.command(epilog="Example: bench customer unassign press-4")
@with_server()
async def unassign(server: ThingsBoard, devices: Devices) -> None:
    """Take devices back from their customers."""
    ids = await in_parallel(devices, server.device_id)
    await in_parallel(ids, server.unassign)
    for each in devices:
        tables.echo(f"took back {each}")
