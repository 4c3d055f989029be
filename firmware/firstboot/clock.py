"""The time of day."""

import time

# The ESP32 counts from 2000, the unix port from 1970.
_EPOCH = 946684800 if time.gmtime(0)[0] == 2000 else 0


def unix_ms(not_before: int) -> int:
    """Milliseconds since 1970, or 0 if the clock was never set: it is earlier than `not_before` (seconds) then."""
    seconds = time.time() + _EPOCH
    return int(seconds) * 1000 if seconds >= not_before else 0
