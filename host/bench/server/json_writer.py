"""JSON as ThingsBoard writes it to devices: compact UTF-8, numbers as Java writes them."""

import json
import math
import re
from decimal import Decimal
from itertools import islice
from typing import Any

# What a double has that Java writes otherwise: an exponent, eight digits before the point, or zeros behind it. Most
# answers have none, and to look at each token of a long one takes four times as long as all the rest.
_MAYBE_OTHERWISE = re.compile(r"(?:^|[:,\[])-?(?:\d++(?:\.\d++)?e|\d{8,}+\.|0\.000)")
# Characters that one search looks at, and the longest match; entries that are written at once. Each such piece takes
# less than a millisecond, in which no other thread runs.
_SEARCHED, _LONGEST, _ENTRIES = 8192, 32, 500
# Texts, which stay as they are, and what Python writes for a double.
_TEXT_OR_DOUBLE = re.compile(r'"(?:[^"\\]++|\\.)*+"|-?\d++(?:\.\d++(?:e[+-]?\d++)?|e[+-]?\d++)')

# `json.dumps` makes another for each call that wants anything but its defaults
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def write(value: Any) -> bytes:
    """Return a value as JSON.

    Of the characters beyond ASCII only the two line separators are escaped, as Gson does: devices' parsers make two
    halves of a character that JSON escapes.
    """
    text = compact(value).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return (_TEXT_OR_DOUBLE.sub(_as_java, text) if _may_be_otherwise(text) else text).encode()


def _may_be_otherwise(text: str) -> bool:
    if "." not in text and "e+" not in text and "e-" not in text:  # no double is in it
        return False
    starts = range(0, len(text), _SEARCHED)
    return any(_MAYBE_OTHERWISE.search(text, at, at + _SEARCHED + _LONGEST) for at in starts)


def compact(value: Any) -> str:
    """Return a value as JSON without spaces, as Jackson writes it to operators."""
    if isinstance(value, list) and len(value) > _ENTRIES:
        starts = range(0, len(value), _ENTRIES)
        return f"[{','.join(_encode(value[at : at + _ENTRIES])[1:-1] for at in starts)}]"
    if isinstance(value, dict) and value:
        if len(value) > _ENTRIES:
            entries = iter(value.items())
            parts = iter(lambda: dict(islice(entries, _ENTRIES)), {})
            return f"{{{','.join(_encode(part)[1:-1] for part in parts)}}}"
        if any(isinstance(each, dict) and len(each) > _ENTRIES for each in value.values()):
            return f"{{{','.join(f'{_encode(str(key))}:{compact(each)}' for key, each in value.items())}}}"
    return _encode(value)


def double(value: float) -> str:
    """Return a double as Java's `Double.toString()` does, in the fewest digits: 0.1, 1.0E7, 1.0E-7, Infinity."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if not value or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # it is finite
    return f"{'-' * sign}{digits[0]}.{''.join(map(str, digits[1:])) or '0'}E{exponent + len(digits) - 1}"


def _as_java(found: re.Match[str]) -> str:
    token = found[0]
    return token if token.startswith('"') else double(float(token))
