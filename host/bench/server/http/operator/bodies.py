"""Bodies of operators' requests: strict JSON, or bytes for a reader of their own."""

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeVar

from fastapi import Depends, Request

from bench.server.http.operator.errors import Unreadable

T = TypeVar("T")

_NESTING_LIMIT = 255
_LARGE = 1 << 18
_BLANK = " \t\r\n\ufeff"


async def read_large(read: Callable[[bytes], T], body: bytes) -> T:
    """Return what is read from a body; a large one is read in a thread, and does not hold up others."""
    return await asyncio.to_thread(read, body) if len(body) > _LARGE else read(body)


async def _raw(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw)]
"""The body as it is, for what has a reader of its own."""


class StrictRequest(Request):
    """A request whose JSON everybody can read again."""

    def set_body(self, body: bytes) -> None:
        self._body = body

    async def json(self) -> Any:
        """Return the body. Raises JSONDecodeError, whatever is wrong with it."""
        return await read_large(strict_json, self._body)


def strict_json(body: bytes) -> Any:
    """Return the value of strict JSON that everybody can read again. Raises JSONDecodeError, whatever is wrong."""
    try:
        text = body.decode(json.detect_encoding(body)).lstrip(_BLANK)
        value, _ = _DECODER.raw_decode(text)  # as ThingsBoard does, without a look at what follows
        _check_values(value)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            raise
        raise json.JSONDecodeError(str(error) if isinstance(error, Unreadable) else "", "", 0) from None
    return value


def _check_values(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _NESTING_LIMIT:
            raise Unreadable(f"nested more than {_NESTING_LIMIT} deep")
        for each in level:
            if isinstance(each, str):
                check_text(each)
            elif isinstance(each, float) and each in (float("inf"), float("-inf")):
                raise Unreadable("a number that no double can hold")
            elif isinstance(each, dict):
                for key in each:
                    check_text(key)
        level = [
            child
            for each in level
            if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
        ]


def check_text(text: str) -> None:
    """Raise Unreadable for text that no database stores."""
    if "\0" in text:
        raise Unreadable("text with a NUL in it cannot be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unreadable("half a surrogate pair is not text") from None


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
