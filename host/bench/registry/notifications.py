"""PostgreSQL's notifications, received over one connection for as long as a server runs."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

# Between two looks whether the connection is there still, and between two tries to have one.
_LOOK_S, _AGAIN_S = 10.0, 1.0


async def receive(
    engine: AsyncEngine, channel: str, on_payload: Callable[[str], None], on_begin: Callable[[], None]
) -> None:
    """Have notifications received, over another connection whenever one is lost, until cancelled.

    Args:
        engine: An engine with asyncpg.
        channel: Where they are sent.
        on_payload: Called with each.
        on_begin: Called whenever they begin to arrive: those that were sent before are lost.
    """
    while True:
        try:
            await _receive(engine, channel, on_payload, on_begin)
        except Exception:  # noqa: BLE001 - asyncpg's own have no root in common
            await asyncio.sleep(_AGAIN_S)


async def _receive(
    engine: AsyncEngine, channel: str, on_payload: Callable[[str], None], on_begin: Callable[[], None]
) -> None:
    lost = asyncio.Event()

    def notified(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
        on_payload(payload)

    # In a transaction, notifications wait for its end
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            driver.add_termination_listener(lambda _connection: lost.set())
            await driver.add_listener(channel, notified)
            on_begin()
            while not lost.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await lost.wait()
                async with asyncio.timeout(_LOOK_S):  # a peer that is gone without a word
                    await connection.exec_driver_sql("SELECT 1")
        finally:
            await connection.invalidate()  # it listens: it is nobody else's any more
