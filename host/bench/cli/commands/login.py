"""`bench login` and `bench logout`: one server and account for all commands that follow."""

import asyncio
from contextlib import suppress
from typing import Annotated

import typer

from bench.cli.options import operator_session
from bench.cli.options.operator_session import ApiKeyFile, Ca, PasswordFile, ServerOptions
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA
from bench.errors import BenchError, UsageError
from bench.rest_client import saved_login


def login(
    url: Annotated[
        str, typer.Argument(help="A ThingsBoard, e.g. https://tb.example; without one, show the login.")
    ] = "",
    user: Annotated[str, typer.Option(metavar="NAME", help="An account there.", envvar="BENCH_USER")] = "",
    password_file: PasswordFile = None,
    api_key_file: ApiKeyFile = None,
    ca: Ca = None,
) -> None:
    """Log in to a ThingsBoard, for all commands that follow, until bench logout.

    The server, the account and its tokens, or its API key, are kept in your folder for configuration, for you alone;
    the password is not. Commands say at which server they are. --data DIR or --url URL name another one for a single
    command.
    """
    if not url:
        _show()
        return
    where = ServerOptions(
        data=DEFAULT_DATA, url=url, user=user, password_file=password_file, api_key_file=api_key_file, ca=ca
    )
    made = asyncio.run(operator_session.log_in(where))
    saved_login.save(made)
    tables.echo(f"logged in at {url} as {made.user}, for all commands until bench logout")


def _show() -> None:
    found = saved_login.load()
    if found is None:
        raise UsageError("not logged in: bench login URL --user NAME")
    tables.echo(f"logged in at {found.url} as {found.user}")


def logout() -> None:
    """End the login that bench login made, also at its server. An API key is only forgotten here, and stays valid."""
    try:
        found = saved_login.load()
    except BenchError:  # whatever it is, it goes
        found = None
    was_there = saved_login.file().exists()
    if found is not None:
        with suppress(BenchError):  # a server that is gone has forgotten it, or the token has ended
            asyncio.run(operator_session.end(found))
    saved_login.forget()
    if found is not None and found.api_key:
        tables.note("the API key stays valid: bench operator key revoke ends it")
    tables.echo(f"logged out of {found.url}" if found else "logged out" if was_there else "you were not logged in")
