"""Budget of tries: a fixed one, unless the environment sets another.

FIRSTBOOT_FUZZ multiplies the tries of the fuzz tests (`make fuzz`). FIRSTBOOT_MATRIX chooses the cells of the fault
matrix: `full`, or one cell as a failure names it (`make matrix`); a sample without it. FIRSTBOOT_SOAK multiplies the
work of the soak tests (`make soak`). With FIRSTBOOT_WALK every interruption of a flash is tried, not a sample.
"""

import os

_TIMES = int(os.environ.get("FIRSTBOOT_FUZZ", "1"))
_SOAK_TIMES = int(os.environ.get("FIRSTBOOT_SOAK", "1"))

MATRIX = os.environ.get("FIRSTBOOT_MATRIX", "")
WALK = bool(os.environ.get("FIRSTBOOT_WALK"))

# The same examples every time, as long as there are few.
FIXED = _TIMES == 1


def examples(usual: int) -> int:
    """Return the number of examples for a test that usually tries so many."""
    return usual * _TIMES


def soaked(usual: int, most: int | None = None) -> int:
    """Return the number of repetitions for a soak test that usually has so many, `most` at the most."""
    wanted = usual * _SOAK_TIMES
    return wanted if most is None else min(wanted, most)
