"""The registry for a command that runs beside a server, or without one."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from bench.registry import Registry

T = TypeVar("T")


def with_registry(data: Path, ask: Callable[[Registry], Awaitable[T]]) -> T:
    """Open the registry in `data`, run `ask`, close it."""

    async def run() -> T:
        registry = await Registry.open(data)
        try:
            return await ask(registry)
        finally:
            await registry.close()

    return asyncio.run(run())
