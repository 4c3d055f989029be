"""`bench operator`: operators, their roles, and API keys."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli.options import common, keyboard, times
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.registry.roles import Role
from bench.rest_client import ThingsBoard
from bench.rest_client.accounts import shown_id

app = App(
    help="Operators, what they may do, and their API keys.",
    epilog="Example: bench operator add jo@example.com --role read-only",
)
key_app = App(
    help="API keys: by them programs act as an account, instead of logging in.",
    epilog="Example: bench operator key add jo@example.com 'build server' --role line --expires 90d",
)
app.add_typer(key_app, name="key")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The e-mail address.", show_default=False)]
Owner = Annotated[str, typer.Argument(metavar="EMAIL", help="The account: any, not only operators'.")]
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="The key's name, which the audit log has.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@app.command(epilog="Example: bench operator add jo@example.com --role line --new-password-file jo.password")
@with_server()
async def add(
    server: ThingsBoard,
    email: Email,
    role: Annotated[
        Role,
        typer.Option(
            help="operator: everything; read-only: read all but credentials; line: only provision and flash. It never "
            "changes.",
        ),
    ] = Role.OPERATOR,
    new_password_file: Annotated[
        Path | None, typer.Option(help="A file with the new password, - for standard input.", show_default="a prompt")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an operator, with a password of 6 to 72 characters."""
    password = keyboard.new_password(email, new_password_file)
    made = await server.create_user(email, password, role="" if role is Role.OPERATOR else role.value)
    tables.facts(_view(made), as_json=as_json)


@app.command("list", epilog="Example: bench operator list --json")
@with_server()
async def list_operators(server: ThingsBoard, as_json: Json = False) -> None:
    """List the operators."""
    rows = [_view(each) for each in await server.users() if each["authority"] != "CUSTOMER_USER"]
    tables.table(rows, as_json=as_json, empty="No operators.", whole=("role", "created"))


def _view(user: dict[str, Any]) -> dict[str, Any]:
    role = user.get("role") or Role.OPERATOR.value
    return {"email": user["email"], "role": role, "created": tables.utc_time(user["createdTime"])}


@app.command(epilog="Example: bench operator remove jo@example.com")
@with_server()
async def remove(server: ThingsBoard, email: Email, yes: Yes = False) -> None:
    """Remove an operator: their logins and API keys end at once. The last one cannot be removed."""
    await server.user(email)
    if not yes:
        keyboard.confirm(f"Remove the operator {email}?", "nobody was removed")
    await server.delete_user(email)
    tables.echo(f"removed {email}; their logins and API keys have ended")


@key_app.command("add", epilog="Example: bench operator key add jo@example.com 'build server' --role read-only")
@with_server()
async def add_key(
    server: ThingsBoard,
    email: Owner,
    name: KeyName,
    role: Annotated[
        Role | None, typer.Option(help="Beyond which it may do nothing.", show_default="all that the account may")
    ] = None,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help=f"When it ends: {times.HELP_AHEAD}.", show_default="never")
    ] = "",
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the key there, for you alone, instead of showing it.")
    ] = None,
    force: common.Force = False,
    as_json: Json = False,
) -> None:
    """Make an API key, and show it this once: nothing can show it again."""
    expires_ms = times.ahead(expires, "--expires")
    if key_file:
        common.check_new(key_file, force=force)
    made = await server.create_api_key(email, name, role=role.value if role else "", expires_ms=expires_ms or 0)
    key = str(made["value"])
    if key_file:
        paths.write_private(key_file, f"{key}\n".encode())
    shown = {"key_file": str(key_file)} if key_file else {"key": key}
    tables.facts({"email": email, **_key_view(made), **shown}, as_json=as_json)


@key_app.command("list", epilog="Example: bench operator key list jo@example.com")
@with_server()
async def list_keys(server: ThingsBoard, email: Owner, as_json: Json = False) -> None:
    """List the API keys of an account, but for the keys themselves."""
    rows = [_key_view(each) for each in await server.api_keys(email)]
    tables.table(rows, as_json=as_json, empty=f"{email} has no API keys.", whole=("id", "role", "expires", "created"))


def _key_view(key: dict[str, Any]) -> dict[str, Any]:
    state = "expired" if key.get("expired") else "valid" if key["enabled"] else "disabled"
    return {
        "name": key["description"],
        "id": shown_id(key),
        "role": key.get("role") or Role.OPERATOR.value,
        "state": state,
        "expires": tables.utc_time(key["expirationTime"]) if key["expirationTime"] else "never",
        "created": tables.utc_time(key["createdTime"]),
    }


@key_app.command("revoke", epilog="Example: bench operator key revoke jo@example.com 'build server'")
@with_server()
async def revoke_key(
    server: ThingsBoard,
    email: Owner,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name, or its id.")],
) -> None:
    """Revoke an API key: it ends at once, and what was got with it."""
    await server.delete_api_key(email, name)
    tables.echo(f"revoked the API key {name} of {email}")
