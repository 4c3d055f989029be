"""Times on the command line: a date, or so long ago, or from now."""

import re
import time
from datetime import UTC, datetime

from bench.errors import UsageError
from bench.text import printable

_SPAN = re.compile(r"(\d{1,6})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DATE = "or a UTC date: 2026-11-29, '2026-11-29 12:30'"
HELP = f"2h (ago; s, m, h, d, w), {_DATE}"
HELP_AHEAD = f"90d (from now; s, m, h, d, w), {_DATE}"


def milliseconds(text: str, option: str) -> int | None:
    """Return a time in milliseconds since the epoch; None for an empty text.

    Args:
        text: As in `HELP`, or any other ISO 8601 time; UTC unless it has an offset.
        option: The name of the option, for the error.

    Raises:
        UsageError: It is not a time.
    """
    return _milliseconds(text, option, -1, HELP) if text else None


def ahead(text: str, option: str) -> int | None:
    """Return a time to come, as `milliseconds` does. Raises UsageError also for one that is past."""
    if not text:
        return None
    found = _milliseconds(text, option, 1, HELP_AHEAD)
    if found <= time.time() * 1000:
        raise UsageError(f"{option} {printable(text)} is past: write {HELP_AHEAD}")
    return found


def seconds(text: str, option: str) -> int:
    """Return how long a text like `30m` is, in seconds. Raises UsageError."""
    span = _SPAN.fullmatch(text.strip())
    if span is None or not int(span[1]):
        raise UsageError(f"{option} {printable(text)} is not a time: write 30m (s, m, h, d, w)")
    return int(span[1]) * _SECONDS[span[2]]


def _milliseconds(text: str, option: str, direction: int, form: str) -> int:
    if span := _SPAN.fullmatch(text.strip()):
        return int((time.time() + direction * int(span[1]) * _SECONDS[span[2]]) * 1000)
    try:
        found = datetime.fromisoformat(text.strip())
        return max(0, int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {printable(text)} is not a time: write {form}") from None
