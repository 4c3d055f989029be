"""An operator's session with a server: the bench's own, running or not, or any ThingsBoard."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache, partial, wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import httpx
import typer

from bench import proxies
from bench.cli.options import common, prompts, server_addresses, text_files
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA, Data
from bench.errors import BenchError, UsageError
from bench.input_files import pem
from bench.registry import data_folder, own_commands
from bench.registry.files import DATABASE_FILE, OPERATOR_FILE
from bench.rest_client import LOGIN, ThingsBoard, saved_login
from bench.rest_client.saved_login import SavedLogin
from bench.rest_client.session import checked_api_key
from bench.text import printable

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE_S = 30.0
_PASSWORD = "BENCH_PASSWORD"  # noqa: S105 - a variable's name
_API_KEY = "BENCH_API_KEY"
OWN = "the bench's own server needs none of them"
"""The reason why an account goes with a URL alone."""
_SECTION = "On any ThingsBoard"

Url = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="A ThingsBoard, e.g. https://tb.example, instead of the bench's own server.",
        envvar="BENCH_URL",
        rich_help_panel=_SECTION,
    ),
]
User = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="An account there, e.g. you@tb.example.", envvar="BENCH_USER", rich_help_panel=_SECTION
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help=f"A file with its password. Otherwise ${_PASSWORD}, or a prompt.", rich_help_panel=_SECTION),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        help=f"A file with an API key, instead of --user and its password. Otherwise ${_API_KEY}.",
        rich_help_panel=_SECTION,
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(help="Certificates to trust, PEM or DER, instead of the system's.", rich_help_panel=_SECTION),
]

URL_OPTIONS: common.Options = {
    "url": (Url, ""),
    "user": (User, ""),
    "password_file": (PasswordFile, None),
    "api_key_file": (ApiKeyFile, None),
    "ca": (Ca, None),
}
"""For commands that go to a server only if it is typed, and not to the one that somebody is logged in at."""

SERVER_OPTIONS: common.Options = {
    common.CONTEXT: (typer.Context, None),
    "data": (Data, DEFAULT_DATA),
    **URL_OPTIONS,
}


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """The server to talk to, and the account to use there."""

    data: Path
    url: str = ""
    user: str = ""
    password_file: Path | None = None
    api_key_file: Path | None = None
    ca: Path | None = None
    create: bool = False
    """Make the registry if the data folder has none yet."""
    saved: SavedLogin | None = None
    """The login that bench login made, at `url`."""

    def refuse_account(self, why: str = "") -> None:
        """Raise UsageError, with a reason, if an option is given that goes with a URL, and would be ignored."""
        if self.user or self.password_file or self.api_key_file or self.ca:
            reason = f": {why}" if why else ""
            raise UsageError(f"--user, --password-file, --api-key-file and --ca go with --url{reason}")


def server_options(*, context: typer.Context, create: bool = False, **given: Any) -> ServerOptions:
    """Return the server that a command line names: with --url or --data, else by the login of bench login.

    Args:
        context: The command's.
        create: As in `ServerOptions`.
        given: The values of `SERVER_OPTIONS`.
    """
    where = ServerOptions(create=create, **given)
    if where.url or common.was_given(context, "data"):
        return where
    saved = saved_login.load()
    if saved is None:
        return where
    where.refuse_account(f"you are logged in at {saved.url}")
    return replace(where, url=saved.url, user=saved.user, ca=Path(saved.ca) if saved.ca else None, saved=saved)


def typed_server(**given: Any) -> ServerOptions:
    """Return the server of `URL_OPTIONS`, with no URL if none is typed. Raises UsageError for options without one."""
    where = ServerOptions(data=DEFAULT_DATA, **given)
    if not where.url:
        where.refuse_account()
    return where


async def log_in(where: ServerOptions) -> SavedLogin:
    """Log in at a URL, and return what commands need from then on. Raises as `run_on_server`."""
    place = {"url": where.url.rstrip("/"), "ca": str(where.ca.resolve()) if where.ca else ""}
    async with client(where.url, where.ca) as http:
        if api_key := _api_key(where):
            me = await ThingsBoard(http, api_key=api_key).me()
            return SavedLogin(**place, user=str(me["email"]), api_key=api_key)
        user = where.user or _missing_user()
        token, refresh_token = await ThingsBoard(http, user, _password(where)).log_in()
    return SavedLogin(**place, user=user, token=token, refresh_token=refresh_token)


async def end(saved: SavedLogin) -> None:
    """Log out at the server. Raises as `run_on_server`."""
    async with client(saved.url, Path(saved.ca) if saved.ca else None) as http:
        await ThingsBoard(http, saved.user, saved=saved).log_out()


def with_server(
    *, create: bool = False
) -> Callable[[Callable[Concatenate[ThingsBoard, P], Awaitable[T]]], Callable[..., T]]:
    """Turn an asynchronous function into a command on a server, whose options are added to the function's own.

    Args:
        create: Make the registry if the data folder has none yet.

    Returns:
        A decorator for functions whose first parameter is the server.
    """

    def decorate(command: Callable[Concatenate[ThingsBoard, P], Awaitable[T]]) -> Callable[..., T]:
        @wraps(command)
        def run(where: ServerOptions, /, *args: P.args, **given: P.kwargs) -> T:
            return run_on_server(where, lambda server: command(server, *args, **given))

        return common.with_options(SERVER_OPTIONS, partial(server_options, create=create))(run)

    return decorate


def run_on_server(where: ServerOptions, operation: Callable[[ThingsBoard], Awaitable[T]]) -> T:
    """Run an operation on a server.

    Args:
        where: The server.
        operation: Called with the logged-in client.

    Returns:
        The operation's result.

    Raises:
        UsageError: The options contradict each other, or the server's account is incomplete.
        BenchError: The data folder has no registry, or the server refuses or does not answer.
    """

    async def run() -> T:
        async with _server(where) as server:
            return await operation(server)

    return asyncio.run(run())


@asynccontextmanager
async def _server(where: ServerOptions) -> AsyncIterator[ThingsBoard]:
    if where.url:
        async with client(where.url, where.ca) as http:
            if where.saved:
                _show(where.saved.url, where.saved.user)
                yield ThingsBoard(http, where.user, saved=where.saved)
            elif api_key := _api_key(where):
                yield ThingsBoard(http, api_key=api_key)
            else:
                yield ThingsBoard(http, where.user or _missing_user(), _password(where))
        return
    where.refuse_account(OWN)
    if not where.create:
        require_registry(where.data)
    running = server_addresses.running_server(where.data)
    if running is None:
        async with _inside(where.data) as transport, _own(where.data, "http://bench", transport) as server:
            yield server
    else:
        async with _own(where.data, running.http, None) as server:
            yield server


@cache
def _show(url: str, user: str) -> None:
    """Say once where a command is that does not name its server."""
    tables.note(f"at {url} as {user}")


def require_registry(data: Path) -> None:
    """Raise BenchError if a data folder has no registry."""
    if not (data / DATABASE_FILE).exists():
        raise BenchError(f"no registry in {data.resolve()}: bench serve makes one, or name its folder with --data")


@asynccontextmanager
async def _own(data: Path, url: str, transport: httpx.AsyncBaseTransport | None) -> AsyncIterator[ThingsBoard]:
    username, password = _account(data / OPERATOR_FILE)

    async def mark(request: httpx.Request) -> None:
        if request.url.path == LOGIN:
            request.headers.update(own_commands.headers(data))

    # Not by way of the environment's proxy: it cannot reach this machine's server, and would see the password.
    async with httpx.AsyncClient(
        base_url=url,
        transport=transport,
        timeout=_PATIENCE_S,
        trust_env=False,
        event_hooks={"request": [mark]},
        verify=_no_authorities(),
    ) as http:
        yield ThingsBoard(http, username, password)


def _account(path: Path) -> tuple[str, str]:
    """Return the operator's user name and password, which the server wrote at its first start."""
    cure = "put it back, or log in to the running server as another user with --url and --user"
    if not path.exists():
        raise BenchError(f"{path.resolve()} is gone: {cure}")
    try:
        account = json.loads(path.read_bytes())
        return str(account["username"]), str(account["password"])
    except (ValueError, KeyError, TypeError):
        raise BenchError(f"{path} is damaged: {cure}") from None


def _inside(data: Path) -> AbstractAsyncContextManager[httpx.ASGITransport]:
    from bench.server.run.in_process import asgi_transport  # noqa: PLC0415 - a server takes half a second to import, others need none

    for repaired in data_folder.secure(data):
        tables.warn(repaired)
    return asgi_transport(data)


def http_url(text: str) -> httpx.URL:
    """Return the URL of a server, from --url. Raises UsageError for anything else."""
    try:
        found = httpx.URL(text)
        port = urlsplit(text).port
    except (httpx.InvalidURL, ValueError):  # raised for other parts of a URL by each
        found, port = httpx.URL(""), None
    if found.scheme not in ("http", "https") or not found.host or port == 0:
        shown = printable(text.rpartition("@")[2])  # what is before it may be a password
        raise UsageError(f"not a URL: {shown}; write http://HOST:PORT or https://HOST")
    if found.userinfo:
        raise UsageError("--url must not contain a user or password: use --user and --password-file")
    return found


def client(url: str, ca: Path | None) -> httpx.AsyncClient:
    """Return a client of the server at a URL; nothing is sent yet.

    Args:
        url: As from --url.
        ca: Certificates to trust instead of the system's.

    Raises:
        UsageError: Not a URL, or not a file of certificates.
        BenchError: A proxy of the environment cannot be used.
    """
    address = http_url(url)
    proxies.check()
    verify = pem.client_context(ca) if ca else address.scheme == "https" or _no_authorities()
    return httpx.AsyncClient(base_url=url.rstrip("/"), verify=verify, timeout=_PATIENCE_S)


def _no_authorities() -> ssl.SSLContext:
    """Return what plain HTTP needs, and with which TLS would trust nobody: to read all authorities takes time."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _missing_user() -> str:
    raise UsageError("--url needs --user, or --api-key-file: an account of that server")


def _api_key(where: ServerOptions) -> str:
    """Return the API key that is named; "" for none. A user who is named logs in, whatever the environment has."""
    if where.api_key_file and (where.user or where.password_file):
        raise UsageError("--api-key-file and --user exclude each other: a key is one account's, leave one out")
    if where.api_key_file:
        return checked_api_key(text_files.read_value(where.api_key_file), printable(str(where.api_key_file)))
    found = "" if where.user else os.environ.get(_API_KEY, "")
    return checked_api_key(found, _API_KEY) if found else ""


def _password(where: ServerOptions) -> str:
    if where.password_file:
        return text_files.read_value(where.password_file)
    return os.environ.get(_PASSWORD) or _typed_password(where.user)


@cache
def _typed_password(user: str) -> str:
    """Prompt once: a command may log in many times, hours apart."""
    return prompts.prompt(f"Password of {user}", f"give --password-file FILE, or set {_PASSWORD}", secret=True)
