"""Waits, with a known random source: its extremes, and the bytes read from it."""

import pytest

from tests.support import micropython

SETUP = """
import os
from firstboot import backoff, settings
SETTINGS = settings.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"},
    "backoff": {"base_ms": 100, "cap_ms": 1000, "long_ms": 60003}})
class Source:
    def urandom(self, size):
        assert size == 4
        return self.number.to_bytes(4, "little")
source = backoff.os = Source()
def waits(number, wait):
    source.number = number
    return wait()
"""


def test_random_number_is_the_rest_of_four_bytes():
    micropython.run(f"""{SETUP}
for number in (0, 1, 9, 10, 255, 256, 65535, 65536, 0x01020304, 0xFFFFFFFF):
    for limit in (1, 2, 7, 10, 1000, 1 << 29):
        assert waits(number, lambda: backoff.below(limit)) == number % limit
    assert waits(number, lambda: backoff.below(0)) == waits(number, lambda: backoff.below(-3)) == 0
""")


@pytest.mark.parametrize("least", [0, 1, 99, 100, 151, 5000])
def test_wait_is_below_a_ceiling_that_doubles_and_on_top_of_what_the_server_requested(least):
    micropython.run(f"""{SETUP}
made = backoff.Backoff(SETTINGS)
for attempt in range(60):
    ceiling = max(100 << attempt if attempt < 4 else 1000, {least})
    for number, wait in ((0, 0), (ceiling, ceiling), (ceiling + 1, 0)):
        assert made.attempt == attempt
        assert waits(number, lambda: made.next({least})) == {least} + wait, (attempt, number)
        made.attempt -= 1
    made.attempt += 1
made.reset()
assert made.attempt == 0
assert waits(101, lambda: made.next()) == 0 and waits(100, lambda: made.next()) == 100
""")


@pytest.mark.parametrize(("ms", "attempt"), [(0, 7), (999, 7), (1000, 0), (1001, 0), (86_400_000, 0)])
def test_session_resets_the_waits_once_it_has_lived_for_the_highest_ceiling(ms, attempt):
    micropython.run(f"""{SETUP}
made = backoff.Backoff(SETTINGS)
made.attempt = 7
made.lived({ms})
assert made.attempt == {attempt}
""")


def test_ceiling_stops_growing_with_the_attempts():
    micropython.run(f"""{SETUP}
made = backoff.Backoff(SETTINGS)
made._cap = 100 << 40
for attempt in (19, 20, 21, 10000):
    ceiling = 100 << min(attempt, 20)
    for number, wait in ((ceiling, ceiling), (ceiling + 1, 0)):
        made.attempt = attempt
        assert waits(number, lambda: made.next()) == wait
""")


def test_long_wait_is_the_upper_half():
    micropython.run(f"""{SETUP}
made = backoff.Backoff(SETTINGS)
for number, wait in ((0, 60003), (1, 60002), (30001, 30002), (30002, 60003)):
    assert waits(number, lambda: made.long()) == wait
""")
