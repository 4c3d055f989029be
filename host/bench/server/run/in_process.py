"""The server without its sockets: for a command that runs while no server does."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.registry.registry import Registry
from bench.server import accounts
from bench.server.device_api import DeviceApi
from bench.server.http.app import application
from bench.server.http.polls import Polls
from bench.server.journal import Journal
from bench.server.limits import Limits, Rules
from bench.server.metrics import ServerMetrics


@asynccontextmanager
async def asgi_transport(data: Path) -> AsyncIterator[httpx.ASGITransport]:
    """Yield the HTTP application on a data folder's registry, made if need be, as a transport for httpx.

    Raises:
        BenchError: The registry cannot be opened.
    """
    registry = await Registry.open(data)
    try:
        await accounts.ensure_first(registry, data)
        api = DeviceApi(registry, Journal(io.StringIO()), Limits(Rules()), ServerMetrics(lambda: registry.commits))
        yield httpx.ASGITransport(application(api, Polls()))
    finally:
        await registry.close()
