"""Copies of a registry's SQLite file, from a running server or a stopped one."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench import paths
from bench.errors import BenchError

Progress = Callable[[int, int], None]
"""Called with the number of pages done, and of all."""

_STEP_PAGES = 2_000
_BUSY_MS = 20_000


@dataclass(frozen=True, kw_only=True)
class SnapshotFacts:
    """The content of a copy, in short."""

    schema: str
    """The revision of its tables."""
    devices: int
    packages: frozenset[str]
    """The SHA-256 of the packages' contents, in hex: the names of their files."""


def copy(source: Path, target: Path, on_progress: Progress) -> None:
    """Copy a database as it is at one moment, all commits of the write-ahead log included.

    Other processes go on reading and writing meanwhile: a read transaction, which is open from the first page to the
    last, holds the moment (https://www.sqlite.org/backup.html, https://www.sqlite.org/isolation.html).

    Args:
        source: The SQLite file.
        target: A new file, with mode 0600 from its first byte.
        on_progress: Called after each step.

    Raises:
        BenchError: The source is damaged, or cannot be read; or the disk is full.
    """
    paths.private_file(target)
    try:
        with closing(_open(source)) as original, closing(_open(target)) as written:
            # Only the finished copy counts, and it is flushed as a whole.
            written.execute("PRAGMA synchronous=OFF")
            original.execute("BEGIN")
            original.execute("SELECT count(*) FROM sqlite_master").fetchone()
            original.backup(
                written,
                pages=_STEP_PAGES,
                progress=lambda _status, left, total: on_progress(total - left, total),
                sleep=0,
            )
    except sqlite3.Error as error:
        raise BenchError(f"cannot copy {source.resolve()} ({error}): check the disk, and bench doctor") from error


def check(path: Path) -> SnapshotFacts:
    """Check a copy, which nobody else uses, by SQLite's own checks of its pages.

    Raises:
        BenchError: It is damaged, or is not a registry.
    """
    try:
        with closing(_open(path)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise BenchError(f"{path.name} is damaged ({found}): use another backup")
            schema = database.execute("SELECT version_num FROM alembic_version").fetchone()
            devices = database.execute("SELECT count(*) FROM device").fetchone()
            columns = database.execute("SELECT 1 FROM pragma_table_info('package') WHERE name = 'digest'").fetchone()
            named = database.execute("SELECT digest FROM package WHERE digest IS NOT NULL") if columns else ()
            packages = frozenset(digest for (digest,) in named)
    except sqlite3.Error as error:
        raise BenchError(f"{path.name} is not a registry, or a damaged one ({error}): use another backup") from error
    return SnapshotFacts(schema=schema[0] if schema else "", devices=devices[0], packages=packages)


def _open(path: Path) -> sqlite3.Connection:
    """Open a file that exists."""
    database = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=rw", uri=True, isolation_level=None)
    database.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    return database
