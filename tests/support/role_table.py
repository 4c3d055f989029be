"""The table of roles: every route of the server, and who may use it. `python -m tests.support.role_table` writes it.

It is read from the application: from its routes, their guards, and the rules for roles.
"""

import asyncio
import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.routing import Mount, WebSocketRoute

from bench import paths
from bench.registry.registry import Registry
from bench.registry.roles import Role
from bench.server.broker.access import BrokerAccess
from bench.server.device_api import DeviceApi
from bench.server.http.app import application
from bench.server.http.operator import access, authorization
from bench.server.http.operator.authorization import AuthenticatedRoute, PublicRoute
from bench.server.http.polls import Polls
from bench.server.journal import Journal
from bench.server.limits import Limits, Rules
from bench.server.metrics import ServerMetrics

PAGE = paths.CHECKOUT / "docs" / "roles.md"
_MARK = "<!-- Below: python -m tests.support.role_table -->\n"
YES, OWN, NO = "yes", "own", "no"
API = "/api"
DEVICE_API, BROKERS = "/api/v1/", "/iot/broker/"
NOBODY, PUBLIC, CUSTOMER, CUSTOMER_KEY = "nobody", "public", "customer's user", "key of a customer's user"
KEYS = {f"key: {role}": role for role in Role}
COLUMNS = (NOBODY, PUBLIC, CUSTOMER, CUSTOMER_KEY, *Role, *KEYS)
# The narrowest first.
_GUARDS = (authorization._operator, authorization._customer_user, authorization._account, authorization._caller)
_WEBSOCKET = "WS"


@dataclass(frozen=True)
class Row:
    """A route that needs a login, and who may use it, by column."""

    method: str
    path: str
    cells: dict[str, str]


@dataclass(frozen=True)
class OpenRow:
    """A route for senders without a user's login."""

    method: str
    path: str
    needs: str


def app_of(wrapped: Any) -> FastAPI:
    """Return the application inside its middlewares."""
    while not isinstance(wrapped, FastAPI):
        wrapped = wrapped._app
    return wrapped


def rows(app: FastAPI) -> tuple[list[Row], list[OpenRow]]:
    """Return every route of an application, in its order."""
    guarded: list[Row] = []
    free: list[OpenRow] = []
    for route, path in _flat(app.router.routes):
        for method in _methods(route):
            if isinstance(route, AuthenticatedRoute):
                guarded.append(Row(method, path, cells(method, path, _guard(route.dependant))))
            elif method == _WEBSOCKET:
                guarded.append(Row(method, path, cells("GET", access.WEBSOCKET, authorization._caller, keys=False)))
            else:
                free.append(OpenRow(method, path, _needs(route, path)))
    return guarded, free


def _flat(routes: Iterable[Any]) -> Iterator[tuple[Any, str]]:
    for route in routes:
        if hasattr(route, "effective_candidates"):  # FastAPI's routers that are included
            for each in route.effective_candidates():
                yield each.original_route, each.path
        elif isinstance(route, Mount):
            yield route, f"{route.path}/..."
        else:
            yield route, route.path


def _methods(route: Any) -> list[str]:
    if isinstance(route, WebSocketRoute):
        return [_WEBSOCKET]
    return sorted((getattr(route, "methods", None) or {"GET"}) - {"HEAD"})


def _guard(dependant: Any) -> Any:
    """Return the narrowest guard of a route, or of what it depends on; None if it has none."""
    found = {dependant.call, *map(_guard, dependant.dependencies)}
    return next((each for each in _GUARDS if each in found), None)


def cells(method: str, path: str, guard: Any, *, keys: bool = True) -> dict[str, str]:
    """Return who may use a route with this guard."""
    assert guard is not None, f"{method} {path} has no guard: its handler takes no AnyUser, AnyAccount, Operator, ..."
    for_customers = guard is not authorization._operator
    for_operators = guard is not authorization._customer_user
    reads = access.is_reading(method, path) or path == access.LOGOUT
    everybody = guard is authorization._caller and reads
    found = {
        NOBODY: NO,
        PUBLIC: OWN if everybody else NO,
        CUSTOMER: OWN if for_customers else NO,
        CUSTOMER_KEY: OWN if for_customers and keys else NO,
    }
    for role in Role:
        found[role] = YES if for_operators and access.may_use({role}, method, path) else NO
    for name, role in KEYS.items():
        found[name] = found[role] if keys else NO
    return found


def _needs(route: Any, path: str) -> str:
    if path.startswith(DEVICE_API):
        return "the profile's key and secret" if path.endswith("/provision") else "the device's token"
    if path.startswith(BROKERS):
        return "a broker's key"
    bodies = {"/auth/login": "a password", "/auth/login/public": "a public customer's id"}
    bodies |= {"/auth/token": "a refresh token", "/noauth/activate": "an activation token"}
    if isinstance(route, PublicRoute):
        return bodies.get(path.removeprefix(API), "nothing")
    return "nothing"


async def of_new_server() -> tuple[list[Row], list[OpenRow]]:
    """Return the routes of a server without sockets."""
    with tempfile.TemporaryDirectory(prefix="bench-roles-") as folder:
        registry = await Registry.open(Path(folder))
        try:
            api = DeviceApi(registry, Journal(io.StringIO()), Limits(Rules()), ServerMetrics(lambda: 0))
            return rows(app_of(application(api, Polls(), access=BrokerAccess(api, "", Rules()))))
        finally:
            await registry.close()


def text(guarded: list[Row], free: list[OpenRow]) -> str:
    """Return the tables as Markdown."""
    lines = ["## Routes that need a login", "", _line("route", *COLUMNS), _line("---", *("---" for _ in COLUMNS))]
    lines += [_line(f"`{each.method} {each.path}`", *(each.cells[name] for name in COLUMNS)) for each in guarded]
    lines += ["", "## Routes that need none", "", _line("route", "what it needs"), _line("---", "---")]
    lines += [_line(f"`{each.method} {each.path}`", each.needs) for each in free]
    return "\n".join(lines) + "\n"


def _line(*columns: str) -> str:
    return f"| {' | '.join(columns)} |"


def on_page() -> str:
    """Return what the page has."""
    return PAGE.read_text().partition(_MARK)[2].lstrip("\n")


if __name__ == "__main__":
    head, mark, _ = PAGE.read_text().partition(_MARK)
    PAGE.write_text(head + mark + "\n" + text(*asyncio.run(of_new_server())))
