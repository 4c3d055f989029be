"""Faults inside a server's process: a wrong clock, a full disk, and answers before the deed.

Everything here is for the whole process. The server runs its own code, and real SQLite refuses to write: its file may
not grow (https://www.sqlite.org/pragma.html#pragma_max_page_count), so a change that needs no new page is still stored.
"""

import time
from datetime import datetime, timedelta, tzinfo
from functools import cache
from typing import Any, Self

import uvicorn.server
from sqlalchemy import Connection, Engine, event

from bench.registry import clock
from bench.server import lateness
from bench.server.http.operator import tokens
from bench.server.mqtt import login

# SQLite's own bounds.
_ALL, _NO_MORE = 4294967294, 1

_pages = _ALL
_ahead_ms = 0


class _Time:
    """The module `time`, with a clock that is wrong."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + _ahead_ms / 1000

    def time_ns(self) -> int:
        return time.time_ns() + _ahead_ms * 1_000_000


class _Datetime(datetime):
    """`datetime`, with a clock that is wrong."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(milliseconds=_ahead_ms)


def jump_clock(ahead_ms: int) -> None:
    """Set the server's clock ahead of the host's clock, or behind it.

    That is the time in answers and stored records, of sessions and of certificates at login; OpenSSL, where it
    checks certificates itself, uses the host's.

    Args:
        ahead_ms: Milliseconds ahead; negative: behind; 0: the host's clock again.
    """
    global _ahead_ms  # noqa: PLW0603 - a process has one clock
    _ahead_ms = ahead_ms
    _shift_clocks()


@cache
def _shift_clocks() -> None:
    wrong: Any = _Time()
    for module in (clock, tokens, uvicorn.server):
        vars(module)["time"] = wrong
    vars(login)["datetime"] = _Datetime


def fill_disk(*, full: bool) -> None:
    """Keep SQLite's files from growing, from the next transaction on.

    Args:
        full: False lets them grow again.
    """
    global _pages  # noqa: PLW0603 - a process has one disk
    _pages = _NO_MORE if full else _ALL
    _bound_files()


@cache
def _bound_files() -> None:
    @event.listens_for(Engine, "begin")
    def _bound(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA max_page_count={_pages}")


def be_late(*, late: bool) -> None:
    """Store after the acknowledgement, and acknowledge out of order, as a production server does.

    Args:
        late: False is on time again.
    """
    lateness.injected = lateness.PRODUCTION if late else None
