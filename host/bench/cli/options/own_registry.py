"""The registry in a data folder, for commands that need no server. It takes long to import: do so when it is needed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.cli.options import operator_session
from bench.registry.registry import Registry


@asynccontextmanager
async def opened(data: Path, database: str) -> AsyncIterator[Registry]:
    """Yield the registry, as whoever owns the folder may open it; a server that runs beside this knows what changes.

    Args:
        data: The folder.
        database: The server's PostgreSQL database; empty if it has none.

    Raises:
        BenchError: There is no registry.
    """
    if not database:
        operator_session.require_registry(data)
    registry = await Registry.open(data, database or None)
    try:
        yield registry
    finally:
        await registry.close()
