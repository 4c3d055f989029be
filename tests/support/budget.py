"""How much is tried: a fixed budget, unless the environment says otherwise.

FIRSTBOOT_FUZZ is how many times as much the fuzz tests try (`make fuzz`). FIRSTBOOT_MATRIX is what the
fault matrix tries: `full`, or one cell of it as a failure names it (`make matrix`); a spread without.
FIRSTBOOT_SOAK is how many times as much the soak tests do (`make soak`). With FIRSTBOOT_WALK every interruption of a
flash is tried, not a spread.
"""

import os

_TIMES = int(os.environ.get("FIRSTBOOT_FUZZ", "1"))
_SOAK_TIMES = int(os.environ.get("FIRSTBOOT_SOAK", "1"))

MATRIX = os.environ.get("FIRSTBOOT_MATRIX", "")
WALK = bool(os.environ.get("FIRSTBOOT_WALK"))

# The same examples every time, as long as there are few.
FIXED = _TIMES == 1


def examples(usual: int) -> int:
    """How many examples a test tries that usually tries so many."""
    return usual * _TIMES


def soaked(usual: int, most: int | None = None) -> int:
    """How many of something a soak test has that usually has so many."""
    wanted = usual * _SOAK_TIMES
    return wanted if most is None else min(wanted, most)
