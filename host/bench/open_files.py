"""How many files a process may have open. A connection is a file, and the usual limit is far from ten thousand."""

import resource


def allow(wanted: int) -> int:
    """Raise this process' own limit to `wanted`, or as far as it may; what it is then, for those it starts, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
