"""Runs of the unmodified esptool on a virtual board's line."""

import re
import subprocess
import sys
from pathlib import Path

from bench.virtual import line_server
from bench.virtual.auto_reset import Start
from tests.support.flash_commands import IMAGE

__all__ = ["AT", "ESPTOOL", "IMAGE", "MAC", "TOOL_TIMEOUT_S", "esptool"]

MAC = "02005e005301"


ESPTOOL = Path(sys.executable).with_name("esptool")


AT = 0x1000


TOOL_TIMEOUT_S = 120


def esptool(port: line_server.LineServer | str, *arguments: object, fails: bool = False) -> str:
    """Run esptool and return its output; on a raw line the board's buttons start the loader first."""
    if isinstance(port, line_server.LineServer):
        if port.url.startswith("socket:"):
            port.reset(Start.DOWNLOAD)
        port = port.url
    command = [ESPTOOL, "--port", port, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    assert bool(done.returncode) == fails, done.stdout + done.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
