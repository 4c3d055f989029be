"""What a measurement depends on besides what it measures. No host name and no path: results are published."""

import os
import platform
from importlib.metadata import version
from typing import Any


def conditions() -> dict[str, Any]:
    """This machine and its software, as JSON has them; the load is that of the minute before."""
    return {
        "firstboot": version("firstboot"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load_average_1_min": round(os.getloadavg()[0], 2),
    }
