"""Parameters that the routes of attributes and of telemetry share."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response

from bench.errors import Refused
from bench.registry import names
from bench.server.http.operator.params import Uuid, comma_separated

PREFIX = "/plugins/telemetry"
INT64 = (1 << 63) - 1

# Of what ThingsBoard keeps these for, devices are all there is here.
Kind = Annotated[Literal["DEVICE"], Path(alias="entityType")]
EntityId = Annotated[Uuid, Path(alias="entityId")]
Keys = Annotated[list[str] | None, Query(alias="keys", description="Names, separated by commas.")]
Key = Annotated[list[str] | None, Query(alias="key", description="A name, as it is; as often as wanted.")]


def described(example: Any) -> dict[str, Any]:
    """Return a route's description of a body that is read by the devices' reader, which takes more than JSON."""
    content = {"application/json": {"schema": {}, "example": example}}
    return {"response_class": Response, "openapi_extra": {"requestBody": {"required": True, "content": content}}}


def keys_of(keys: list[str] | None, each: list[str] | None) -> Sequence[str] | None:
    """Return the names that are requested; None is all."""
    return [*comma_separated(*(keys or ())), *(each or ())] or None


def check_keys(keys: Iterable[str]) -> None:
    """Raise Refused for a name that no attribute or series may have."""
    for key in keys:
        if not key.strip():
            raise Refused("Key cannot be empty or contains only spaces")
        names.check(key=key)
        if "\0" in key:
            raise Refused("Validation error: key is malformed")
