"""Fixtures for tests of the server alone."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from bench.registry import Registry
from tests.server.operators import login
from tests.server.packets import VERSIONS, Old
from tests.support import RunningServer


@pytest.fixture(params=VERSIONS.values(), ids=VERSIONS)
def v(request) -> Old:
    """A version of MQTT: the test holds for each."""
    return request.param


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One server for the tests of a file that do not see what others store: it outlives all of them."""
    server = RunningServer(tmp_path_factory.mktemp("shared") / "server")
    yield server
    server.close()


@pytest.fixture(scope="module")
def shared_operator(shared_server):
    """An operator of the shared server. What is made there has a name of its own."""
    with login(shared_server) as operator:
        yield operator


@pytest.fixture
def server_operator(server):
    """An operator of a server of its own."""
    with login(server) as operator:
        yield operator


@pytest.fixture
def run(tmp_path, database):
    """Run `scenario(registry, ...)` with registries that share a database, as processes would."""

    def start(scenario, *, registries=1):
        async def main():
            async with AsyncExitStack() as stack:
                opened = []
                for _ in range(registries):
                    opened.append(await Registry.open(tmp_path, database))
                    stack.push_async_callback(opened[-1].close)
                return await scenario(*opened)

        return asyncio.run(main())

    return start


@pytest.fixture
def deadline_server(start_server) -> RunningServer:
    """A server that waits only so long for a login, or for a whole request."""
    return start_server(deadline_s=0.3)
