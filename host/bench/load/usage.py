"""What processes use: memory, CPU time, and the time for which they waited for a CPU. From Linux' /proc.

Whatever this machine does not tell is None. Imports nothing but the standard library.
"""

import os
from pathlib import Path

_NS = 1e9


def resident_bytes(pid: int) -> int | None:
    """The resident memory of a process."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def peak_bytes(pid: int) -> int | None:
    """The most memory that a process had so far."""
    return _kib(Path(f"/proc/{pid}/status"), "VmHWM:")


def share_bytes(pid: int) -> int | None:
    """The memory of a process, with its share of what it has in common with others (PSS): shares can be added up."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def cpu_s(pid: int) -> float | None:
    """CPU time of a process with all its threads."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_and_waiting_s(pid: int) -> tuple[float, float] | None:
    """CPU time of a process' main thread, and how long that was ready to run and had to wait for a CPU."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return None
    return int(ran) / _NS, int(waited) / _NS


def _kib(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith(name)), None)
    return None if found is None else int(found) * 1024
