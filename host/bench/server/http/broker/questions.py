"""A broker's request: who sends it, and its fields, which are JSON or a form."""

import base64
import binascii
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from bench.server.http.error_responses import TooLarge, body_of

BODY_LIMIT = 64 << 10
"""Bytes of a broker's request."""
_MOST_FIELDS = 64
_FORM = "application/x-www-form-urlencoded"


class Unreadable(Exception):
    """A request that cannot be read: it is answered as one that is denied."""


def broker_of(request: Request) -> tuple[str, str]:
    """Return the name and the key of the broker that sends a request (RFC 7617); empty if it shows none."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, key = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name, key


async def fields_of(request: Request) -> Mapping[str, str]:
    """Return the fields of a request. Whole numbers of JSON are texts, too; what is neither is left out.

    Raises:
        Unreadable: It is too long, neither JSON nor a form, or has a field twice.
    """
    try:
        body = (await body_of(request, BODY_LIMIT)).decode()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return _of_form(body) if kind == _FORM else _of_json(body)
    except (TooLarge, ValueError, RecursionError):
        raise Unreadable from None


def _of_form(body: str) -> dict[str, str]:
    return _once(parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS))


def _of_json(body: str) -> dict[str, str]:
    found = json.loads(body, object_pairs_hook=_once_of_json)
    if not isinstance(found, dict):
        raise Unreadable
    return found


def _once_of_json(pairs: list[tuple[str, object]]) -> dict[str, str]:
    texts = [(name, str(value) if type(value) is int else value) for name, value in pairs]
    return _once([(name, value) for name, value in texts if isinstance(value, str)])


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable
    for value in found.values():
        value.encode()  # half a surrogate pair is not text
    return found
