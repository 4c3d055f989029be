"""ThingsBoard's parameters in paths and queries, and the pages of lists."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import Depends, Path, Query
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bench.contract.releases import Release
from bench.errors import Refused
from bench.registry.names import Naming
from bench.registry.pages import PageQuery
from bench.server.http import error_responses
from bench.server.http.operator.errors import Failed, MalformedId
from bench.server.http.operator.schemas.common import PageData

T = TypeVar("T")
U = TypeVar("U")

_MOST = (1 << 31) - 1
PAGE_LIMIT = 1000
"""Rows of one page. ThingsBoard has no limit; here a page never takes so long that others wait for it."""


def _uuid(text: Any) -> UUID:
    """Return an id of a path or a query. Raises Refused with ThingsBoard's words."""
    try:
        return UUID(text)
    except ValueError:
        raise MalformedId(f"Invalid UUID string: {text}") from None


Uuid = Annotated[UUID, BeforeValidator(_uuid)]
DeviceId = Annotated[Uuid, Path(alias="deviceId")]
ProfileId = Annotated[Uuid, Path(alias="deviceProfileId")]
CustomerId = Annotated[Uuid, Path(alias="customerId")]
UserId = Annotated[Uuid, Path(alias="userId")]
TenantId = Annotated[Uuid, Path(alias="tenantId")]

_SIZE = Query(alias="pageSize", ge=1, le=PAGE_LIMIT, examples=[10], description="How many, at most.")
_NUMBER = Query(alias="page", ge=0, le=_MOST, examples=[0], description="Which page, from 0.")
_PageSize = Annotated[int, _SIZE]
_PageNumber = Annotated[int, _NUMBER]
_TextSearch = Annotated[
    str,
    Query(alias="textSearch", max_length=255, description="Only what contains this, in any case; % and _ match any."),
]
_SortOrder = Annotated[
    str, Query(alias="sortOrder", pattern="(?i)^(ASC|DESC)?$", description="ASC or DESC; it needs a sortProperty.")
]


def page_query(sorts: Iterable[str], *, unless: str = "") -> Any:
    """Return the dependency that reads the paging parameters of a list.

    Used as `wanted: Annotated[PageQuery, page_query(customers.SORTS)]`.

    Args:
        sorts: The values that `sortProperty` may have, besides `id`: rows in the order in which they were made.
        unless: A parameter that stands for another request on the same path, which has no page: that gives None.
    """
    known = sorted({*sorts, "id"})
    sort_property: Any = Annotated[str, Query(alias="sortProperty", description=f"One of {', '.join(known)}.")]

    async def read(
        size: _PageSize,
        number: _PageNumber,
        search: _TextSearch = "",
        sort: sort_property = "",  # made of the columns of one list
        order: _SortOrder = "",
    ) -> PageQuery:
        if sort not in {*known, ""}:
            raise Failed(f"Could not resolve attribute '{sort}'", error_responses.DATABASE)
        descending = bool(sort) and order.upper() == "DESC"
        column = "createdTime" if sort in {"id", ""} else sort
        return PageQuery(size=size, number=number, search=search, sort=column, descending=descending)

    async def read_unless(
        request: Request,
        size: Annotated[int | None, _SIZE] = None,
        number: Annotated[int | None, _NUMBER] = None,
        search: _TextSearch = "",
        sort: sort_property = "",
        order: _SortOrder = "",
    ) -> PageQuery | None:
        if unless in request.query_params:
            return None
        if size is None or number is None:
            raise Refused("Required request parameters pageSize and page are not present")
        return await read(size, number, search, sort, order)

    return Depends(read_unless if unless else read)


def release_of(request: Request) -> Release:
    """Return the release of ThingsBoard that this server is like."""
    release: Release = request.app.state.operators.api.registry.release
    return release


async def _newer_route(request: Request) -> None:
    if not release_of(request).has_newer_routes:
        raise HTTPException(404)


NEWER_ROUTE = Depends(_newer_route)
"""Of routes that only the newest releases have: for older ones they are not there."""


async def _api_keys_route(request: Request) -> None:
    if not release_of(request).has_api_keys:
        raise HTTPException(404)


API_KEYS_ROUTE = Depends(_api_keys_route)
"""Of the routes of API keys: for older releases they are not there."""


def naming_query() -> Any:
    """Return the dependency that reads what becomes of a name that is taken."""

    async def read(
        request: Request,
        policy: Annotated[Literal["FAIL", "UNIQUIFY"], Query(alias="nameConflictPolicy")] = "FAIL",
        separator: Annotated[str, Query(alias="uniquifySeparator", max_length=255)] = "_",
        strategy: Annotated[Literal["RANDOM", "INCREMENTAL"], Query(alias="uniquifyStrategy")] = "RANDOM",
    ) -> Naming:
        known = release_of(request).makes_names_unique
        return Naming(unique=known and policy == "UNIQUIFY", separator=separator, random=strategy == "RANDOM")

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
    """Return the ids in texts like `id,id`. Raises Refused."""
    return [_uuid(each) for each in comma_separated(*texts)]


def comma_separated(*texts: str | None) -> Sequence[str]:
    """Return the parts of `a,b`, without repetition."""
    parts = (part.strip() for text in texts for part in (text or "").split(","))
    return list(dict.fromkeys(part for part in parts if part))
