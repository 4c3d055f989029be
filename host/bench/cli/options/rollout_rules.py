"""Rules of a rollout as they are typed: how many at a time, how fast, and when it stops."""

import json
import re
from typing import Any

from bench.cli.options import times
from bench.errors import UsageError
from bench.text import printable

_RATE = re.compile(r"(\d{1,7})/(s|sec|min|h)")
_PERIODS = {"s": 1, "sec": 1, "min": 60, "h": 3600}
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%")
# Beyond them no device has a number that compares.
_NUMBERS = 1 << 63
_COUNT = re.compile(r"\d{1,7}")


def rate(text: str) -> dict[str, int]:
    """Return the fields of a rate like `60/min`. Raises UsageError."""
    found = _RATE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise UsageError(f"--rate {printable(text)} is not a rate: write 60/min, 1/s or 500/h")
    return {"rateNumber": int(found[1]), "rateSeconds": _PERIODS[found[2]]}


def stop_at(text: str) -> dict[str, Any]:
    """Return the fields of a share or a number of failures, `2%` or `10`. Raises UsageError."""
    if (share := _PERCENT.fullmatch(text.strip())) and 0 < float(share[1]) <= 100:
        return {"stopPercent": float(share[1]), "stopFailures": None}
    if _COUNT.fullmatch(text.strip()) and int(text):
        return {"stopPercent": None, "stopFailures": int(text)}
    raise UsageError(f"--stop-at {printable(text)} is neither a share nor a number of failures: write 2% or 10")


def timeout(text: str) -> dict[str, int]:
    """Return the field of a time like `30m`. Raises UsageError."""
    return {"timeoutSeconds": times.seconds(text, "--timeout")}


def attributes(conditions: list[str]) -> dict[str, Any]:
    """Return attributes from texts like `site=A`, whose values are JSON or text. Raises UsageError."""
    found = {}
    for each in conditions:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise UsageError(f"--where {printable(each)}: write ATTRIBUTE=VALUE")
        found[key] = _value(value)
    return found


def _value(text: str) -> bool | float | str:
    """Return a truth value, a number that a server can hold, or text."""
    try:
        value = json.loads(text, parse_constant=str)
    except ValueError:
        return text
    if isinstance(value, bool | str):
        return value
    return value if isinstance(value, int | float) and abs(value) < _NUMBERS else text
