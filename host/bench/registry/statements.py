"""Statements of devices' requests, compiled once.

To run one of these, SQLAlchemy takes ten times as long as SQLite does. So with SQLite it only compiles them, when the
program starts, and the driver runs them. A PostgreSQL is too far away for that to matter: there they go the usual way.

Many rows are one statement: after each the thread has to get Python's lock back, for which the event loop lets it wait.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Text, bindparam, insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from bench.registry.model import Base

T = TypeVar("T")

ROWS = 1000
"""How many rows one statement gets: one of PostgreSQL has at most 32,767 parameters."""

_DIALECT = sqlite.dialect(paramstyle="qmark")
_Convert = Callable[[Any], Any]
# Rows of one statement in SQLite. Other numbers of rows are several statements: the driver remembers 128 texts.
_COUNTS = (1, 2, 4, 8, 16, 32, 64)
_AT_ONCE = _COUNTS[-1]


def parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield rows, or other parameters, in their order, as many at a time as one statement takes."""
    for at in range(0, len(rows), ROWS):
        yield rows[at : at + ROWS]


class Lookup:
    """Finds the rows that have one of some texts in a column.

    Args:
        query: Selects columns; the rows have their names as attributes.
        column: The column of text, which has an index.
    """

    def __init__(self, query: Select[*tuple[Any, ...]], column: Any) -> None:
        self._query = query
        self._column = column
        # The condition comes last, so that the texts for more parameters follow from that for one.
        one = query.where(column.in_([bindparam("wanted", type_=Text())])).compile(dialect=_DIALECT)
        begin, mark, end = str(one).rpartition("?")
        assert mark
        self._texts = {count: f"{begin}{', '.join('?' * count)}{end}" for count in _COUNTS}
        found = query.selected_columns
        self._names = [each.name for each in found]
        self._conversions = [each.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None) for each in found]

    def __call__(self, connection: Connection, wanted: Iterable[str]) -> Sequence[Any]:
        """Return the rows. A text that is empty, or has a NUL and so is in no database, finds nothing.

        Raises:
            DBAPIError: The database failed.
        """
        texts = {each for each in wanted if each and "\0" not in each}
        if not texts:
            return ()
        if connection.dialect.name != _DIALECT.name:
            return connection.execute(self._query.where(self._column.in_(texts))).all()
        return [
            self._row(row)
            for some in _in_powers_of_two(list(texts))
            for row in run(connection, self._texts[len(some)], some)
        ]

    def _row(self, values: Sequence[Any]) -> SimpleNamespace:
        converted = (
            value if convert is None else convert(value)
            for value, convert in zip(values, self._conversions, strict=True)
        )
        return SimpleNamespace(**dict(zip(self._names, converted, strict=True)))


class Insertion:
    """Adds rows to a table.

    Args:
        table: The table.
        columns: The columns that the rows have, all of them in each; others get the database's own default.
    """

    def __init__(self, table: type[Base], *columns: str) -> None:
        self._statement = insert(table)
        one = str(insert(table.__table__).compile(dialect=_DIALECT, column_keys=list(columns)))  # type: ignore[arg-type]
        row = f"({', '.join('?' * len(columns))})"
        self._texts = {count: one + f", {row}" * (count - 1) for count in _COUNTS}
        # SQLAlchemy's conversions take None, too
        types = [table.__table__.c[name].type for name in columns]
        conversions = [each.dialect_impl(_DIALECT).bind_processor(_DIALECT) for each in types]
        self._columns = list(zip(columns, conversions, strict=True))

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, maybe none.

        Raises:
            IntegrityError: A constraint refuses one of them.
            DBAPIError: The database failed.
        """
        if not rows:
            return
        if connection.dialect.name != _DIALECT.name:
            connection.execute(self._statement, list(rows))
            return
        for some in _in_powers_of_two(rows):
            values = [
                row[name] if convert is None else convert(row[name]) for row in some for name, convert in self._columns
            ]
            run(connection, self._texts[len(some)], values)


def run(connection: Connection, text: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Run a statement with SQLite's own driver, and return its rows.

    Raises:
        DBAPIError: The database failed, as SQLAlchemy tells it.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    try:
        return driver.execute(text, parameters).fetchall()
    except sqlite3.Error as error:
        raise DBAPIError.instance(text, None, error, sqlite3.Error, hide_parameters=True, dialect=_DIALECT) from error


def _in_powers_of_two(items: Sequence[T]) -> Iterator[Sequence[T]]:
    at = 0
    while left := len(items) - at:
        count = min(_AT_ONCE, 1 << left.bit_length() - 1)
        yield items[at : at + count]
        at += count
