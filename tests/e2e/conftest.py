"""Fixtures of the end-to-end tests."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from bench.virtual.line_server import Line
from tests.e2e.orders import Orders
from tests.server import operators
from tests.support import RunningServer


@pytest.fixture
def give_orders() -> Iterator[Callable[[RunningServer, str], Orders]]:
    """Operators, each logged in once a server."""
    clients: dict[int, httpx.Client] = {}

    def give(server: RunningServer, name: str) -> Orders:
        if server.ports.http not in clients:
            clients[server.ports.http] = operators.login(server)
        return Orders(clients[server.ports.http], name)

    yield give
    for client in clients.values():
        client.close()


@pytest.fixture
def controls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """DTR and RTS as lines are told them, in their order."""
    told: list[tuple[int, int]] = []
    control = Line.control

    def record(line: Line, *, dtr: bool, rts: bool) -> None:
        told.append((int(dtr), int(rts)))
        control(line, dtr=dtr, rts=rts)

    monkeypatch.setattr(Line, "control", record)
    return told
