"""The database behind the registry: opening it, and bringing its schema up to date."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bench import house
from bench.errors import BenchError

_MIGRATIONS = Path(__file__).parent / "migrations"
# How long another process may hold the write lock (the command line beside a running server does, for
# milliseconds). Short enough for a server that is told to stop in the meantime.
_BUSY_MS = 1_500
# The same while it is opened: others may be bringing the schema up to date.
_OPENING_MS = 20_000


async def connect(path: Path) -> AsyncEngine:
    """Open the SQLite database at `path`, made if need be, with its schema up to date; BenchError if it is none.

    WAL, so that readers do not wait for the writer; synchronous=FULL, so that a commit is on the
    disk when it returns (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """
    house.private_file(path)  # SQLite gives its -wal and -shm files the same mode
    # What goes into statements is secret in part: errors must not show it.
    busy_ms, mode = _OPENING_MS, ["journal_mode=WAL"]
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", hide_parameters=True)

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, by SQLAlchemy's own event
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={busy_ms}", *mode, "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that will write says so at once: upgrading a read lock can fail, waiting cannot.
        readonly = connection.get_execution_options().get("readonly", False)
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    try:
        # One at a time: two that switch a new file to WAL do not wait for each other, but fail.
        async with _alone(path.parent), engine.begin() as connection:
            await connection.run_sync(_migrate)
    except (DatabaseError, CommandError) as error:  # CommandError: the schema of a newer bench
        await engine.dispose()
        reason = error.orig if isinstance(error, DatabaseError) else error
        raise BenchError(f"cannot open {path} ({reason}): move it away, or use another --data folder") from error
    busy_ms, mode = _BUSY_MS, []  # the mode stays with the file
    await engine.dispose()  # the connections made from now on are set up so
    return engine


@asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[None]:
    """Hold the lock of a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
