"""Resource usage of processes from Linux' /proc (proc(5)): memory, CPU time, and time of waiting for a CPU.

A figure is None if the process is gone, or this machine does not have it. Imports only the standard library.
"""

import os
from pathlib import Path

_NS = 1e9


def resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process, in bytes."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def peak_bytes(pid: int) -> int | None:
    """Return the peak resident memory of a process so far (VmHWM), in bytes."""
    return _kib(Path(f"/proc/{pid}/status"), "VmHWM:")


def share_bytes(pid: int) -> int | None:
    """Return the proportional memory (PSS) of a process, in bytes: shared pages are divided, so it can be summed."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def cpu_s(pid: int) -> float | None:
    """Return the CPU time of a process with all its threads, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_and_waiting_s(pid: int) -> tuple[float, float] | None:
    """Return the CPU time of a process' main thread, and the time for which it was ready but waited for a CPU.

    Both in seconds, from `schedstat`.
    """
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
