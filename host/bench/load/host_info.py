"""Facts about this machine that measurements depend on. No host name and no path: results are published."""

import os
import platform
from importlib.metadata import version
from typing import Any


def conditions() -> dict[str, Any]:
    """Return facts about this machine and its software, for JSON output.

    Returns:
        The versions of firstboot and Python, the system with its processor, the number of CPUs, and the load average
        of the last minute.
    """
    return {
        "firstboot": version("firstboot"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load_average_1_min": round(os.getloadavg()[0], 2),
    }
