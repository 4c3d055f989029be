"""MicroPython's unix port as the CPU of a virtual board: the program, and its ROM."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from bench import paths
from bench.errors import BenchError
from bench.flash.firmware import compile_mpy

_UMQTT = "micropython-umqtt.simple"
_UMQTT_VERSION = "1.3.4"


def interpreter() -> str:
    """Return the command that runs MicroPython: `BENCH_MICROPYTHON`, or the one beside our Python or on the PATH.

    Raises:
        BenchError: MicroPython is not installed, or `BENCH_MICROPYTHON` names a file that does not exist.
    """
    named = os.environ.get("BENCH_MICROPYTHON")
    found = named or shutil.which("micropython", path=str(Path(sys.executable).parent)) or shutil.which("micropython")
    if found and Path(found).exists():
        return found
    raise BenchError(
        f"no MicroPython at {named}: correct BENCH_MICROPYTHON" if named else "no MicroPython: run make setup"
    )


def umqtt_folder() -> Path:
    """Return the folder of umqtt.simple, which exists once `umqtt` has fetched it."""
    return paths.BUILD / f"{_UMQTT}-{_UMQTT_VERSION}"


def umqtt() -> Path:
    """Return umqtt.simple as PyPI has it, fetched once into `build/`.

    It is an sdist without a setup.py, which pip refuses; `unearth` downloads it from the index that pip is set up for.

    Returns:
        The path of its one module, `simple.py`.

    Raises:
        BenchError: It cannot be downloaded.
    """
    folder = umqtt_folder()
    if not folder.exists():
        paths.BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as temporary:
            command = [str(Path(sys.executable).with_name("unearth")), f"{_UMQTT}=={_UMQTT_VERSION}"]
            done = subprocess.run(
                [*command, "--no-binary", "--download", temporary], capture_output=True, text=True, check=False
            )
            archives = list(Path(temporary).glob("*.tar.gz"))
            if done.returncode or not archives:
                raise BenchError(f"{_UMQTT} {_UMQTT_VERSION} was not downloaded: is the package index reachable?")
            with tarfile.open(archives[0]) as archive:
                archive.extractall(temporary, filter="data")
            try:
                (Path(temporary) / folder.name).rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another process was faster
                    raise
    return folder / "umqtt" / "simple.py"


def rom() -> Path:
    """Return a folder with the compiled modules of a board's ROM and image, which are not in its file system.

    It is made once for its content, in `build/`.

    Raises:
        BenchError: umqtt cannot be downloaded, or a module does not compile.
    """
    sources = {"umqtt/simple": umqtt()}
    sources.update({path.stem: path for path in sorted(paths.ESP32_PORT.glob("*.py"))})
    compiled = {name: compile_mpy(source, f"{name}.py") for name, source in sources.items()}
    digest = hashlib.sha256(b"".join(compiled.values())).hexdigest()[:16]
    folder = paths.BUILD / f"rom-{digest}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as temporary:
            for name, code in compiled.items():
                path = Path(temporary) / "rom" / f"{name}.mpy"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(code)
            try:
                (Path(temporary) / "rom").rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another process was faster
                    raise
    return folder


if __name__ == "__main__":  # make setup: fetch and compile now, or else the first board waits for it
    interpreter()
    rom()
