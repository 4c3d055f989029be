"""ThingsBoard's parameters, in paths and queries, and the pages that they ask for."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from fastapi import Path, Query

from bench.registry.pages import PageQuery
from bench.server.http.operator.errors import Unreadable
from bench.server.http.operator.schemas import PageData

T = TypeVar("T")
U = TypeVar("U")

_MOST = (1 << 31) - 1

DeviceId = Annotated[UUID, Path(alias="deviceId")]
ProfileId = Annotated[UUID, Path(alias="deviceProfileId")]
CustomerId = Annotated[UUID, Path(alias="customerId")]
UserId = Annotated[UUID, Path(alias="userId")]

PageSize = Annotated[int, Query(alias="pageSize", ge=1, le=_MOST, examples=[10], description="How many, at most.")]
PageNumber = Annotated[int, Query(alias="page", ge=0, le=_MOST, examples=[0], description="Which page, from 0.")]
TextSearch = Annotated[
    str, Query(alias="textSearch", max_length=255, description="Only what contains this, in any case.")
]
SortOrder = Annotated[Literal["ASC", "DESC"], Query(alias="sortOrder")]


def listed(found: tuple[Iterable[T], int], wanted: PageQuery, shape: Callable[[T], U]) -> PageData[U]:
    """A page in ThingsBoard's form."""
    rows, total = found
    return PageData(
        data=[shape(row) for row in rows],
        total_pages=-(-total // wanted.size),
        total_elements=total,
        has_next=(wanted.number + 1) * wanted.size < total,
    )


def ids(texts: Iterable[str]) -> list[UUID]:
    """The ids in texts like `id,id`. Raises Unreadable."""
    try:
        return [UUID(each) for each in comma_separated(*texts)]
    except ValueError:
        raise Unreadable("a list of UUIDs is wanted") from None


def comma_separated(*texts: str | None) -> Sequence[str]:
    """The parts of `a,b`, without repetition."""
    parts = (part.strip() for text in texts for part in (text or "").split(","))
    return list(dict.fromkeys(part for part in parts if part))
