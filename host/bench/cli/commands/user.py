"""`bench user`: accounts of operators, and of customers' users."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import keyboard
from bench.cli.options.operator_session import require_registry, with_server
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import DEFAULT_DATA, Data, Json
from bench.rest_client import ThingsBoard, id_of

app = App(help="Accounts: operators, and customers' users.", epilog="Example: bench user create jo@example.com")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The e-mail address.", show_default=False)]
NewPassword = Annotated[
    Path | None, typer.Option(help="A file with the new password, - for standard input.", show_default="a prompt")
]


@app.command("list", epilog="Example: bench user list --json")
@with_server()
async def list_users(server: ThingsBoard, as_json: Json = False) -> None:
    """List the accounts."""
    titles = {id_of(each): each["title"] for each in await server.customers()}
    rows = [_view(each, titles.get(each["customerId"]["id"], "")) for each in await server.users()]
    tables.table(rows, as_json=as_json, empty="No accounts.", whole=("role", "created"))


def _view(user: dict[str, Any], customer: str) -> dict[str, Any]:
    role = {"TENANT_ADMIN": "operator", "CUSTOMER_USER": "customer user"}.get(user["authority"], user["authority"])
    role = user.get("role") or role
    created = tables.utc_time(user["createdTime"])
    return {"email": user["email"], "role": role, "customer": customer, "created": created}


@app.command(epilog="Example: bench user create jo@example.com --customer 'Acme Ltd'")
@with_server()
async def create(
    server: ThingsBoard,
    email: Email,
    customer: Annotated[str, typer.Option(help="Make a user of this customer, instead of an operator.")] = "",
    new_password_file: NewPassword = None,
    as_json: Json = False,
) -> None:
    """Make an account with a password of 6 to 72 characters: an operator, or a customer's user.

    bench operator add makes operators who may do less.
    """
    if customer:
        await server.customer(customer)
    made = await server.create_user(email, keyboard.new_password(email, new_password_file), customer=customer)
    tables.facts(_view(made, customer), as_json=as_json, done=f"created user {email}")


@app.command(epilog="Example: bench user delete jo@example.com")
@with_server()
async def delete(
    server: ThingsBoard,
    email: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete an account, but not the one that this command uses."""
    await server.user(email)
    if not yes:
        keyboard.confirm(f"Delete the account {email}?", "nothing was deleted")
    await server.delete_user(email)
    tables.echo(f"deleted {email}")


@app.command(epilog="Example: bench user password jo@example.com")
def password(
    email: Annotated[
        str, typer.Argument(metavar="EMAIL", help="The account.", show_default="the one of operator.json")
    ] = "",
    new_password_file: NewPassword = None,
    data: Data = DEFAULT_DATA,
    database: Annotated[
        str, typer.Option(help="The server's PostgreSQL database, if it has one.", envvar="BENCH_DATABASE")
    ] = "",
) -> None:
    """Reset a forgotten password, on the machine with the data folder. Tokens of the account end.

    Without EMAIL, the account of the first start gets a random password, and operator.json is written anew.
    """
    from bench.server import accounts  # noqa: PLC0415 - the database takes long to import

    if not database:
        require_registry(data)
    chosen = keyboard.new_password(email, new_password_file) if email or new_password_file else None
    changed = asyncio.run(accounts.reset_password(data, database or None, email, chosen))
    tables.echo(f"changed the password of {changed}; its tokens are invalid")
