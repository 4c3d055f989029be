"""Pages of a list, searched and sorted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

Columns = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """The part of a list that is wanted: page `number`, from 0, of what contains `search`, oldest first by default."""

    size: int
    number: int = 0
    search: str = ""
    sort: str = "createdTime"
    descending: bool = False


def page(  # noqa: PLR0913 - a list has that many sides
    session: Session, statement: Any, wanted: PageQuery, *, sorts: Columns, searched: Sequence[Any], key: Any
) -> tuple[Sequence[Any], int]:
    """Return the rows of a page, and the number of rows in all.

    Args:
        session: The transaction.
        statement: Selects all of the list.
        wanted: The page.
        sorts: Columns, or lists of them, by the names that clients sort by.
        searched: The columns that are searched, without regard to case; without any, a search finds all.
        key: The column that decides between equals.
    """
    if wanted.search and searched:
        statement = statement.where(or_(*(contains(column, wanted.search) for column in searched)))
    total = session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0
    columns = sorts[wanted.sort]
    columns = [*columns, key] if isinstance(columns, Sequence) else [columns, key]
    order = [each.desc() if wanted.descending else each.asc() for each in columns]
    statement = statement.order_by(*order).limit(wanted.size).offset(wanted.number * wanted.size)
    return session.execute(statement).all(), total


def contains(column: Any, text: str) -> ColumnElement[bool]:
    """Return the condition that a column contains a text, without regard to case.

    As ThingsBoard has it, `%` and `_` are SQL's wildcards, and a backslash takes that from them.
    """
    found: ColumnElement[bool] = func.lower(column).like(func.lower(f"%{text}%"), escape="\\")
    return found
