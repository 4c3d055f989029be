"""Pages of a list, searched and sorted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

Columns = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """Which part of a list is wanted: page `number`, from 0, of what contains `search`."""

    size: int
    number: int = 0
    search: str = ""
    sort: str = "createdTime"
    descending: bool = True


def page(  # noqa: PLR0913 - a list has that many sides
    session: Session, statement: Any, wanted: PageQuery, *, sorts: Columns, searched: Sequence[Any], key: Any
) -> tuple[Sequence[Any], int]:
    """The rows of a page, and how many there are in all.

    `sorts`: columns by the names they have for whoever asks; `searched`: the columns that are searched, without
    regard to case; `key`: the column that decides between equals.
    """
    if wanted.search:
        statement = statement.where(or_(*(contains(column, wanted.search) for column in searched)))
    total = session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0
    column = sorts[wanted.sort]
    order = column.desc() if wanted.descending else column.asc()
    statement = statement.order_by(order, key).limit(wanted.size).offset(wanted.number * wanted.size)
    return session.execute(statement).all(), total


def contains(column: Any, text: str) -> ColumnElement[bool]:
    """Whether a column contains a text, without regard to case. Nothing in the text is a wildcard."""
    literal = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    found: ColumnElement[bool] = func.lower(column).like(func.lower(f"%{literal}%"), escape="\\")
    return found
