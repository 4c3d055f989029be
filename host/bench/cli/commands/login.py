"""`bench login` and `bench logout`: one server and account for all commands that follow."""

import asyncio
from contextlib import suppress
from typing import Annotated

import typer

from bench.cli.options import operator_session
from bench.cli.options.operator_session import Ca, PasswordFile, ServerOptions
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA
from bench.errors import BenchError, UsageError
from bench.rest_client import saved_login
from bench.rest_client.saved_login import SavedLogin


def login(
    url: Annotated[
        str, typer.Argument(help="A ThingsBoard, e.g. https://tb.example; without one, show the login.")
    ] = "",
    user: Annotated[str, typer.Option(metavar="NAME", help="An account there.", envvar="BENCH_USER")] = "",
    password_file: PasswordFile = None,
    ca: Ca = None,
) -> None:
    """Log in to a ThingsBoard, for all commands that follow, until bench logout.

    The server, the account and its tokens are kept in your folder for configuration, for you alone; the password is
    not. Commands say at which server they are. --data DIR or --url URL name another one for a single command.
    """
    if not url:
        _show()
        return
    where = ServerOptions(data=DEFAULT_DATA, url=url, user=user, password_file=password_file, ca=ca)
    token, refresh_token = asyncio.run(operator_session.tokens(where))
    saved_login.save(
        SavedLogin(
            url=url.rstrip("/"),
            user=user,
            ca=str(ca.resolve()) if ca else "",
            token=token,
            refresh_token=refresh_token,
        )
    )
    tables.echo(f"logged in at {url} as {user}, for all commands until bench logout")


def _show() -> None:
    found = saved_login.load()
    if found is None:
        raise UsageError("not logged in: bench login URL --user NAME")
    tables.echo(f"logged in at {found.url} as {found.user}")


def logout() -> None:
    """End the login that bench login made, also at its server."""
    try:
        found = saved_login.load()
    except BenchError:  # whatever it is, it goes
        found = None
    was_there = saved_login.file().exists()
    if found is not None:
        with suppress(BenchError):  # a server that is gone has forgotten it, or the token has ended
            asyncio.run(operator_session.end(found))
    saved_login.forget()
    tables.echo(f"logged out of {found.url}" if found else "logged out" if was_there else "you were not logged in")
