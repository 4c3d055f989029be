"""Statements that are compiled once in a process, for all its databases.

SQLAlchemy compiles a statement once an engine, and a user's process has one engine. Tests open thousands: a third of
what a server's short life costs would be compiling the same statements again.
"""

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_compiled: LRUCache = LRUCache(10_000)


def share() -> None:
    """Have every engine find what another one compiled. Dialects of a kind are alike: all are made with our options."""
    for dialect in (SQLiteDialect_pysqlite, PGDialect_asyncpg):
        dialect.__eq__ = _is_of_a_kind
        dialect.__hash__ = _hash_of_kind
    Engine._compiled_cache = property(lambda _: _compiled, _ignore)


def _is_of_a_kind(self, other):
    return type(self) is type(other)


def _hash_of_kind(self):
    return hash(type(self))


def _ignore(engine, own_cache):
    """Keep the shared cache where an engine sets its own."""
