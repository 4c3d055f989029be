"""How much the fuzz tests try: a fixed budget unless FIRSTBOOT_FUZZ says how many times as much (`make fuzz`)."""

import os

_TIMES = int(os.environ.get("FIRSTBOOT_FUZZ", "1"))

# The same examples every time, as long as there are few.
FIXED = _TIMES == 1


def examples(usual: int) -> int:
    """How many examples a test tries that usually tries so many."""
    return usual * _TIMES
