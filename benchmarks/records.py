"""Access to the registry beside a server, or without one."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from bench.errors import BenchError
from bench.registry.files import DATABASE_FILE
from bench.registry.registry import Registry

T = TypeVar("T")


def with_registry(data: Path, operation: Callable[[Registry], Awaitable[T]], *, create: bool = False) -> T:
    """Open the registry, run an operation on it, and close it.

    Args:
        data: The server's data folder.
        operation: An asynchronous function of the registry.
        create: Make the registry if there is none.

    Returns:
        The result of the operation.

    Raises:
        BenchError: There is no registry, and `create` is false.
    """
    if not create and not (data / DATABASE_FILE).exists():
        raise BenchError(f"no registry in {data}: bench serve makes one, or name its folder with --data")

    async def run() -> T:
        registry = await Registry.open(data)
        try:
            return await operation(registry)
        finally:
            await registry.close()

    return asyncio.run(run())
