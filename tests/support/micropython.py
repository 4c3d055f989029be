"""Device code on the unix port: the firmware's modules as boards get them, umqtt.simple, and a board's ROM if needed.

Private names of the firmware are short there. Code of tests says them in full, as the sources do; `reaching_in` makes
them short before it runs.
"""

import atexit
import functools
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.flash import firmware
from bench.virtual import unix_port

_PATIENCE_S = 60


@functools.cache
def _built() -> str:
    """Return a folder with the compiled firmware, which is removed when the tests end."""
    folder = TemporaryDirectory(prefix="firmware-")
    atexit.register(folder.cleanup)
    firmware.build(Path(folder.name))
    return folder.name


def environment(umqtt: Path | None = None, *, rom: bool = False) -> dict[str, str]:
    """Return the environment in which MicroPython finds the firmware's modules. Arguments as for `run`."""
    modules = umqtt or (unix_port.rom() if rom else unix_port.umqtt().parent.parent)
    return finding(_built(), modules)


def finding(*folders: str | Path) -> dict[str, str]:
    """Return the environment in which MicroPython finds the modules in these folders, and its own."""
    return {**os.environ, "MICROPYPATH": ":".join(map(str, (*folders, ".frozen")))}


def reaching_in(code: str) -> str:
    """Return code that may use private names of the firmware, as they are on a board."""
    return firmware.shortened().applied_to(code)


def run(
    code: str,
    *,
    umqtt: Path | None = None,
    rom: bool = False,
    arguments: tuple[str, ...] = (),
    cwd: Path | None = None,
    stdin: bytes = b"",
) -> str:
    """Run MicroPython source, and return its output. An exception there fails the test here.

    Args:
        code: The source.
        umqtt: The folder of an umqtt to use; None: the fetched one.
        rom: True to use the modules of a virtual board's ROM.
        arguments: `sys.argv[1:]`.
        cwd: The working directory; None: the present one.
        stdin: All of the standard input.
    """
    done = subprocess.run(
        [unix_port.interpreter(), "-c", reaching_in(code), *arguments],
        env=environment(umqtt, rom=rom),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done.stdout.decode(errors="replace")  # MicroPython accepts more as UTF-8 than Python does


def start(code: str, *, umqtt: Path | None = None, arguments: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    """Start MicroPython source with its output in a pipe. Arguments as for `run`."""
    return subprocess.Popen(
        [unix_port.interpreter(), "-c", reaching_in(code), *arguments],
        env=environment(umqtt),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
