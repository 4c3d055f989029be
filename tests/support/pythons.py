"""Pythons of this machine that the bench has to run on. `python -m tests.support.pythons` prints the two ends."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

OLDEST = (3, 11)
"""As `requires-python` says."""
_PLACES = ("/usr/bin", "/usr/local/bin", *map(str, Path.home().glob(".pyenv/versions/*/bin")))
_PROBE = "import ensurepip, sys, venv; print(*sys.version_info[:3])"


@cache
def oldest_and_newest() -> tuple[str, str]:
    """Return the paths of the oldest and the newest Python that can make environments; both may be the same."""
    found = dict(sorted(_pythons()))
    return next(iter(found.values())), list(found.values())[-1]


def _pythons() -> Iterator[tuple[tuple[int, ...], str]]:
    for place in _PLACES:
        for path in Path(place).glob("python3.[0-9]*"):
            if path.suffix[1:].isdigit():
                done = subprocess.run([str(path), "-c", _PROBE], capture_output=True, text=True, check=False)
                version = tuple(map(int, done.stdout.split()))
                if version >= OLDEST:
                    yield version, str(path)


if __name__ == "__main__":
    print(*oldest_and_newest())
