"""How many files a process may have open. A connection is a file, and the usual limit is far from ten thousand."""

import resource

from bench.errors import BenchError


def allow(wanted: int) -> int:
    """Raise this process' own limit to `wanted`, or as far as it may; what it is then, for those it starts, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def require(wanted: int, whom: str) -> None:
    """Raise this process' own limit to `wanted`, for `whom`. Raises BenchError if it may not be as high."""
    if (allowed := allow(wanted)) < wanted:
        raise BenchError(f"{whom} take {wanted} files, and {allowed} are allowed: raise the limit (ulimit -Hn)")
