"""The content of a database and its folder, read from outside: bytes of files, rows of PostgreSQL, its schema."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.registry.files import DATABASE_FILE

T = TypeVar("T")

# The files whose purpose is to hold secrets.
_OPEN = {"secrets.key", "operator.json"}


def on_database(folder: Path, url: str | None, work: Callable[[Connection], T]) -> T:
    """Run `work(connection)` in a transaction on a separate engine, without the registry; return its result."""
    if url is None:
        engine = create_engine(f"sqlite:///{folder / DATABASE_FILE}")
        try:
            with engine.begin() as connection:
                return work(connection)
        finally:
            engine.dispose()

    async def run() -> T:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def everything(folder: Path, url: str | None) -> dict[str, bytes]:
    """Return all that is stored: every file of a data folder but those for secrets, and PostgreSQL's rows as text."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in _OPEN
    }
    if url is not None:
        found |= on_database(folder, url, _rows)
    return found


def _rows(connection: Connection) -> dict[str, bytes]:
    return {
        table: "\n".join(connection.scalars(text(f'SELECT t::text FROM "{table}" t ORDER BY 1'))).encode()
        for table in inspect(connection).get_table_names()
    }


def holding(stored: dict[str, bytes], secrets: Iterable[str]) -> list[tuple[int, str]]:
    """Return (number of a secret, name of the place) for each find, verbatim or in hex, as PostgreSQL writes bytes."""
    return [
        (number, name)
        for number, secret in enumerate(secrets)
        for name, data in stored.items()
        if secret.encode() in data or secret.encode().hex().encode() in data
    ]


def is_intact(path: Path) -> bool:
    """Return whether SQLite's own checks of its file find no error."""
    with closing(sqlite3.connect(path)) as other:
        return [
            other.execute("PRAGMA integrity_check").fetchall(),
            other.execute("PRAGMA foreign_key_check").fetchall(),
        ] == [[("ok",)], []]
