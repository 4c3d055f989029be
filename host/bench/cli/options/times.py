"""Times on the command line: a date, or so long ago."""

import re
import time
from datetime import UTC, datetime

from bench.errors import UsageError
from bench.text import printable

_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
HELP = "2h (ago; s, m, h, d, w), or a UTC date: 2026-11-29, '2026-11-29 12:30'"


def milliseconds(text: str, option: str) -> int | None:
    """Return a time in milliseconds since the epoch; None for an empty text.

    Args:
        text: As in `HELP`, or any other ISO 8601 time; UTC unless it has an offset.
        option: The name of the option, for the error.

    Raises:
        UsageError: It is not a time.
    """
    if not text:
        return None
    if ago := _AGO.fullmatch(text.strip()):
        return int((time.time() - int(ago[1]) * _SECONDS[ago[2]]) * 1000)
    try:
        found = datetime.fromisoformat(text.strip())
        return max(0, int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {printable(text)} is not a time: write {HELP}") from None
