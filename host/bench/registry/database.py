"""The database behind the registry: opening it, its schema, and transactions.

Work is written once, against a plain SQLAlchemy connection. On PostgreSQL it runs on the event loop, through asyncpg.
On SQLite it runs in a thread, from BEGIN to COMMIT: statement by statement, as the asyncio driver has it, it would
change threads some thirty times, which costs more than the database does.
"""

import asyncio
import re
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from sqlalchemy import Connection, Engine, create_engine, create_mock_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bench import extras, paths
from bench.errors import BenchError, UsageError
from bench.registry import hook_events, notifications, statements
from bench.registry.encryption import SecretBox, WrongKey
from bench.registry.files import DATABASE_FILE
from bench.registry.hook_events import Feed
from bench.registry.model import Base
from bench.registry.threads import Threads

T = TypeVar("T")
Work = Callable[[Connection], T]

# The newest revision in `migrations`, and the one that kept secrets in plain.
HEAD = "0021a"
_PLAIN = "0001"
# As Alembic makes it.
_VERSION_TABLE = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
# How long another process may hold the write lock (the command line beside a running server does, for
# milliseconds). Short enough for a server that is stopped in the meantime.
_BUSY_MS = 1_500
# The same while it is opened: others may be bringing the schema up to date.
_OPENING_MS = 20_000
_READERS = 4
# For work under way when the database is closed; then its statements are interrupted.
_CLOSE_S = 1.0
# Whatever the role or the database has for a default: a commit is on the disk before the answer leaves.
_DURABLE = {"synchronous_commit": "on"}
# Held in PostgreSQL while the schema is brought up to date, and by each of operators' changes; any numbers that no
# one else uses.
_MIGRATION_LOCK, _TURN_LOCK = 0x66697273, 0x66697274


class Database(ABC):
    """A database that runs work in transactions of its own."""

    @abstractmethod
    def read(self, work: Work[T]) -> Awaitable[T]:
        """Run work that changes nothing, and return its result."""

    @abstractmethod
    def look_up(self, work: Work[T]) -> Awaitable[T]:
        """Run work that changes nothing and is short, e.g. a login. It does not wait for that of `read`."""

    @abstractmethod
    def write(self, work: Work[T]) -> Awaitable[T]:
        """Run work in a transaction, and return its result once it is on the disk."""

    @abstractmethod
    async def listen(self, channel: str, on_payload: Callable[[str], None], on_begin: Callable[[], None]) -> None:
        """Have notifications of other processes on the same database received, until cancelled. SQLite has none.

        Args:
            channel: Where they are sent.
            on_payload: Called with each.
            on_begin: Called whenever they begin to arrive: what was sent before is lost.
        """

    name = ""
    """The name of this process among all that use the database; empty if there is no other."""

    feed: Feed
    """The events of what is written."""

    @abstractmethod
    async def close(self) -> None:
        """Finish the work under way and close."""


async def connect(folder: Path, url: str | None, secret_box: SecretBox) -> Database:
    """Open a database with its schema up to date.

    Args:
        folder: The data folder, which holds the SQLite file.
        url: `postgresql+asyncpg://...`; None for SQLite.
        secret_box: Encrypts what an older schema stored in plain text.

    Raises:
        UsageError: The URL is not one, or of another kind of database.
        BenchError: The database cannot be used.
        WrongKey: It has to be brought up to date, and its secrets are another key's.
    """
    if url is None:
        return await _connect_sqlite(folder / DATABASE_FILE, secret_box)
    try:
        if make_url(url).drivername != "postgresql+asyncpg":
            raise UsageError("--database needs postgresql+asyncpg://USER:PASSWORD@HOST/NAME; SQLite needs no URL")
        extras.require("postgresql", "PostgreSQL databases")
        name = f"firstboot-{uuid.uuid4().hex[:12]}"
        settings = {**_DURABLE, "application_name": name}
        feed = Feed()
        engine = create_async_engine(
            url,
            hide_parameters=True,
            connect_args={"server_settings": settings},
            execution_options={hook_events.OPTION: feed},
        )
    except ArgumentError:
        raise UsageError("--database is not a URL: write postgresql+asyncpg://USER:PASSWORD@HOST/NAME") from None
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            await connection.run_sync(_migrate, secret_box)
    except WrongKey:
        await engine.dispose()
        raise
    except Exception as error:  # asyncpg's own reach us as they are, and have no root in common
        await engine.dispose()
        where = engine.url.render_as_string(hide_password=True)
        raise BenchError(f"cannot open {where} ({_reason(error)}): is it running, and the address right?") from error
    return _Asynchronous(engine, name, feed)


async def _connect_sqlite(path: Path, secret_box: SecretBox) -> Database:
    paths.private_file(path)  # SQLite gives its -wal and -shm files the same mode
    try:
        await asyncio.to_thread(_bring_up_to_date_alone, path, secret_box)
    except (DatabaseError, BenchError) as error:
        raise BenchError(
            f"cannot open {path.absolute()} ({_reason(error)}): move it away, or use another --data folder"  # noqa: ASYNC240 - touches no file
        ) from error
    return _Threaded(path)


def _bring_up_to_date_alone(path: Path, secret_box: SecretBox) -> None:
    """Wait for other processes: two that switch a new file to WAL do not wait for each other, but fail."""
    with FileLock(path.with_name(f"{path.name}.lock"), mode=0o600):
        _bring_up_to_date(path, secret_box)


def _bring_up_to_date(path: Path, secret_box: SecretBox) -> None:
    """Run migrations. Foreign keys stay off: tables are rebuilt, and dropping one would delete what refers to it.

    What was stored in plain text is overwritten, in pages that are free already (by VACUUM) and in those that
    become free (https://www.sqlite.org/pragma.html#pragma_secure_delete).
    """
    # the journal's mode stays with the file
    engine = _sqlite_engine(path, f"busy_timeout={_OPENING_MS}", "journal_mode=WAL", "secure_delete=ON")
    try:
        with engine.begin() as connection:
            revision = _revision(connection)
        if revision == _PLAIN:
            _run_alone(engine, "VACUUM")
        with engine.begin() as connection:
            _migrate(connection, secret_box)
        if revision not in (None, HEAD):
            _run_alone(engine, "PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        engine.dispose()


def _run_alone(engine: Engine, statement: str) -> None:
    """Run a statement outside of any transaction."""
    raw = engine.raw_connection()
    raw.cursor().execute(statement)
    raw.close()


def _reason(error: Exception) -> str:
    """Return what the database said, on one line, without the names of Python's classes in it."""
    found = (error.orig if isinstance(error, DatabaseError) else None) or error
    return re.sub(r"^<class '[^']*'>: ", "", " ".join(str(found).split())) or type(found).__name__


def _sqlite_engine(path: Path, *pragmas: str, connections: list[sqlite3.Connection] | None = None) -> Engine:
    """Return an engine on a SQLite file. Its connections are added to `connections`.

    WAL, so that readers do not wait for the writer; synchronous=FULL, so that a commit is on the disk when it returns
    (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """
    # What goes into statements is secret in part: errors must not show it.
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True, pool_size=_READERS + 2)

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
        if connections is not None:
            connections.append(connection)
        connection.isolation_level = None  # transactions are begun below, by SQLAlchemy's own event
        for pragma in (*pragmas, "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that will write begins as one: upgrading a read lock can fail, waiting cannot.
        readonly = connection.get_execution_options().get("readonly", False)
        statements.run(connection, "BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


class _Threaded(Database):
    """SQLite: one thread writes, a few read, and one has the short reads to itself."""

    def __init__(self, path: Path) -> None:
        self._connections: list[sqlite3.Connection] = []
        engine = _sqlite_engine(path, f"busy_timeout={_BUSY_MS}", "foreign_keys=ON", connections=self._connections)
        self.feed = Feed()
        self._engine = engine.execution_options(**{hook_events.OPTION: self.feed})
        self._reader = engine.execution_options(readonly=True)
        self._write_thread = Threads(1, "writer")
        self._writer: Connection | None = None
        self._read_threads = Threads(_READERS, "reader")
        self._look_up_thread = Threads(1, "look-up")

    def read(self, work: Work[T]) -> Awaitable[T]:
        return self._read_threads.submit(partial(_run, self._reader, work))

    def look_up(self, work: Work[T]) -> Awaitable[T]:
        return self._look_up_thread.submit(partial(_run, self._reader, work))

    def write(self, work: Work[T]) -> Awaitable[T]:
        return self._write_thread.submit(partial(self._write, work))

    def _write(self, work: Work[T]) -> T:
        if self._writer is None or self._writer.invalidated:
            self._writer = self._engine.connect()  # and kept: to take it out of the pool takes as long as a commit
        self.feed.begin(self._writer)
        with self._writer.begin():
            result = work(self._writer)
        self.feed.committed(self._writer)
        return result

    async def listen(self, channel: str, on_payload: Callable[[str], None], on_begin: Callable[[], None]) -> None:
        pass

    async def close(self) -> None:
        interrupting = asyncio.get_running_loop().call_later(_CLOSE_S, self._interrupt)
        for threads in (self._write_thread, self._look_up_thread, self._read_threads):
            await asyncio.to_thread(threads.shut_down)
        interrupting.cancel()
        if self._writer is not None:
            self._writer.close()
        self._engine.dispose()

    def _interrupt(self) -> None:
        """End the statements under way: those that take longer are a read that nobody waits for any more."""
        for connection in self._connections:
            with suppress(sqlite3.ProgrammingError):  # it is closed
                connection.interrupt()


def _run(engine: Engine, work: Work[T]) -> T:
    with engine.begin() as connection:
        return work(connection)


class _Asynchronous(Database):
    """PostgreSQL."""

    def __init__(self, engine: AsyncEngine, name: str, feed: Feed) -> None:
        self._engine = engine
        self.feed = feed
        self.name = name

    async def read(self, work: Work[T]) -> T:
        return await self._run(work)

    async def look_up(self, work: Work[T]) -> T:
        return await self._run(work)

    async def write(self, work: Work[T]) -> T:
        return await self._run(work)

    async def _run(self, work: Work[T]) -> T:
        """Run work in a transaction; once more if its connection was gone, e.g. because PostgreSQL was restarted.

        What was not committed did not happen, and is done again. After a COMMIT nobody knows.
        """
        try:
            return await self._transaction(work)
        except _ConnectionLost:
            return await self._transaction(work, is_last=True)

    async def _transaction(self, work: Work[T], *, is_last: bool = False) -> T:
        async with self._engine.connect() as connection:
            transaction = await connection.begin()
            assert connection.sync_connection is not None
            self.feed.begin(connection.sync_connection)
            try:
                result = await connection.run_sync(work)
            except DBAPIError as error:
                if error.connection_invalidated and not is_last:
                    raise _ConnectionLost from error
                raise
            await transaction.commit()
            self.feed.committed(connection.sync_connection)
            return result

    async def listen(self, channel: str, on_payload: Callable[[str], None], on_begin: Callable[[], None]) -> None:
        await notifications.receive(self._engine, channel, on_payload, on_begin)

    async def close(self) -> None:
        await self._engine.dispose()


class _ConnectionLost(Exception):
    """The connection was gone before the COMMIT."""


def wait_for_turn(connection: Connection) -> None:
    """Have a transaction wait for the others that do this, of any process; it goes on alone until its end.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN_LOCK})")


def _revision(connection: Connection) -> str | None:
    """Return the revision of the tables, None if there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


@cache
def _tables(url: str) -> tuple[str, ...]:
    """Return the statements that make all tables: to write them takes as long as to run them."""
    written: list[str] = []
    dialect = make_url(url).get_dialect()()
    engine = create_mock_engine(url, lambda each, *_, **__: written.append(str(each.compile(dialect=dialect))))
    Base.metadata.create_all(engine, checkfirst=False)
    return tuple(written)


def _migrate(connection: Connection, secret_box: SecretBox) -> None:
    if not inspect(connection).get_table_names():  # a new one: as the models are, with nothing to bring over
        for statement in _tables(f"{connection.dialect.name}+{connection.dialect.driver}://"):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(_VERSION_TABLE)
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{HEAD}')")  # noqa: S608 - our own
    elif _revision(connection) != HEAD:
        from bench.registry import schema  # noqa: PLC0415 - a sixth of a start's time, for nothing at most starts

        schema.upgrade(connection, secret_box)
