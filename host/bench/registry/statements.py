"""Statements of devices' requests, compiled once.

To run one of these, SQLAlchemy takes ten times as long as SQLite does. So with SQLite it only compiles them, when the
program starts, and the driver runs them. A PostgreSQL is too far away for that to matter: there they go the usual way.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, bindparam, insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from bench.registry.model import Base

T = TypeVar("T")

ROWS = 1000
"""How many rows one statement gets: one of PostgreSQL has at most 32,767 parameters."""

_DIALECT = sqlite.dialect(paramstyle="qmark")
_Convert = Callable[[Any], Any]


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
        self._text = str(query.where(column == bindparam("wanted")).compile(dialect=_DIALECT))
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
        with _driver(connection, self._text) as driver:
            return [self._row(row) for text in texts for row in driver.execute(self._text, (text,))]

    def _row(self, values: Sequence[Any]) -> SimpleNamespace:
        converted = _converted(values, self._conversions)
        return SimpleNamespace(**dict(zip(self._names, converted, strict=True)))


class Insertion:
    """Adds rows to a table.

    Args:
        table: The table.
        columns: The columns that the rows have, all of them in each; others get the database's own default.
    """

    def __init__(self, table: type[Base], *columns: str) -> None:
        self._statement = insert(table)
        self._columns = columns
        self._text = str(insert(table.__table__).compile(dialect=_DIALECT, column_keys=list(columns)))  # type: ignore[arg-type]
        types = [table.__table__.c[name].type for name in columns]
        self._conversions = [each.dialect_impl(_DIALECT).bind_processor(_DIALECT) for each in types]

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
        with _driver(connection, self._text) as driver:
            values = [_converted([row[name] for name in self._columns], self._conversions) for row in rows]
            driver.executemany(self._text, values)


def _converted(values: Sequence[Any], conversions: Sequence[_Convert | None]) -> list[Any]:
    """Return values as the driver, or the program, has them. SQLAlchemy's conversions take None, too."""
    return [value if convert is None else convert(value) for value, convert in zip(values, conversions, strict=True)]


@contextmanager
def _driver(connection: Connection, text: str) -> Iterator[sqlite3.Connection]:
    """Yield the driver's own connection; its errors become SQLAlchemy's, as all others are."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    try:
        yield driver
    except sqlite3.Error as error:
        raise DBAPIError.instance(text, None, error, sqlite3.Error, hide_parameters=True, dialect=_DIALECT) from error
