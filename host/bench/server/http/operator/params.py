"""ThingsBoard's parameters in paths and queries, and the pages of lists."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import Depends, Path, Query

from bench.registry.pages import PageQuery
from bench.server.http.operator.errors import Unreadable
from bench.server.http.operator.schemas.common import PageData

T = TypeVar("T")
U = TypeVar("U")

_MOST = (1 << 31) - 1

DeviceId = Annotated[UUID, Path(alias="deviceId")]
ProfileId = Annotated[UUID, Path(alias="deviceProfileId")]
CustomerId = Annotated[UUID, Path(alias="customerId")]
UserId = Annotated[UUID, Path(alias="userId")]

_PageSize = Annotated[int, Query(alias="pageSize", ge=1, le=_MOST, examples=[10], description="How many, at most.")]
_PageNumber = Annotated[int, Query(alias="page", ge=0, le=_MOST, examples=[0], description="Which page, from 0.")]
_TextSearch = Annotated[
    str, Query(alias="textSearch", max_length=255, description="Only what contains this, in any case.")
]
_SortOrder = Annotated[Literal["ASC", "DESC"], Query(alias="sortOrder")]


_REQUIRED: Any = inspect.Parameter.empty
"""As a parameter's default it means that there is no default: FastAPI reads the signature."""


def page_query(sorts: Iterable[str], *, size: Any = _REQUIRED, number: Any = _REQUIRED) -> Any:
    """Return the dependency that reads the paging parameters of a list.

    Used as `wanted: Annotated[PageQuery, page_query(customers.SORTS)]`.

    Args:
        sorts: The values that `sortProperty` may have.
        size: The default of `pageSize`; without one the parameter is required.
        number: The default of `page`, likewise.
    """
    sort_property: Any = Annotated[Literal.__getitem__(tuple(sorts)), Query(alias="sortProperty")]

    async def read(
        size: _PageSize = size,
        number: _PageNumber = number,
        search: _TextSearch = "",
        sort: sort_property = "createdTime",  # made of the columns of one list
        order: _SortOrder = "DESC",
    ) -> PageQuery:
        return PageQuery(size=size, number=number, search=search, sort=sort, descending=order == "DESC")

    return Depends(read)


def listed(found: tuple[Iterable[T], int], wanted: PageQuery, shape: Callable[[T], U]) -> PageData[U]:
    """Return a page in ThingsBoard's form.

    Args:
        found: The rows, and the number of rows in all.
        wanted: The page.
        shape: Makes the JSON of a row.
    """
    rows, total = found
    return PageData(
        data=[shape(row) for row in rows],
        total_pages=-(-total // wanted.size),
        total_elements=total,
        has_next=(wanted.number + 1) * wanted.size < total,
    )


def ids(texts: Iterable[str]) -> list[UUID]:
    """Return the ids in texts like `id,id`. Raises Unreadable."""
    try:
        return [UUID(each) for each in comma_separated(*texts)]
    except ValueError:
        raise Unreadable("a list of UUIDs is wanted") from None


def comma_separated(*texts: str | None) -> Sequence[str]:
    """Return the parts of `a,b`, without repetition."""
    parts = (part.strip() for text in texts for part in (text or "").split(","))
    return list(dict.fromkeys(part for part in parts if part))
