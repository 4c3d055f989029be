"""One JSON line per lifecycle step on the console. Never a secret: callers pass plain facts only."""

import json
import time

# True in the middle of a line that is typed on the console: an event then begins a line of its own.
typing = False

_last = time.ticks_ms()
_uptime_ms = 0


def uptime_ms() -> int:
    """Return the milliseconds since boot.

    Summed, because `ticks_ms` wraps after some days; it has to be called at least once in that time,
    which the telemetry interval ensures.
    """
    global _last, _uptime_ms
    now = time.ticks_ms()
    _uptime_ms += time.ticks_diff(now, _last)
    _last = now
    return _uptime_ms


def emit(event: str, **fields: object) -> None:
    """Print `{"event": ..., "ms": ..., ...}`; `event` and `ms` always come first.

    Args:
        event: its name.
        fields: its facts, anything that is JSON; never a secret.
    """
    global typing
    if typing:
        typing = False
        print()
    line = '{"event": "%s", "ms": %d' % (event, uptime_ms())
    for key in sorted(fields):
        line += ", %s: %s" % (json.dumps(key), json.dumps(fields[key]))
    print(line + "}")
