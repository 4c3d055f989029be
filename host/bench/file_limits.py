"""The limit of open files. A connection is a file, and the usual limit is far from ten thousand."""

import resource
from contextlib import suppress
from pathlib import Path

from bench.errors import BenchError


def allow(wanted: int) -> int:
    """Raise this process' own limit of open files, as far as it may; processes that it starts inherit it.

    Args:
        wanted: The number of files.

    Returns:
        `wanted`, or the limit if that is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def require(wanted: int, whom: str) -> None:
    """Raise this process' own limit of open files.

    Args:
        wanted: The number of files.
        whom: The users of the files in the plural, for the message, e.g. `200 boards`.

    Raises:
        BenchError: The limit may not be as high.
    """
    if (allowed := allow(wanted)) < wanted:
        raise BenchError(f"{whom} take {wanted} files, and {allowed} are allowed: raise the limit (ulimit -Hn)")


def free() -> float:
    """Return how many more files this process may open; infinity if there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return float("inf")
    opened = 0
    with suppress(OSError):  # no such folder, or no file left to read it with
        opened = sum(1 for _ in Path("/dev/fd").iterdir())
    return max(0, soft - opened)
