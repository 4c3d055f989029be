"""MicroPython's unix port as the CPU of a virtual board: the program, and its ROM."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
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
    of_user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))  # pip install --user
    beside = os.pathsep.join([str(Path(sys.executable).parent), sysconfig.get_path("scripts"), of_user])
    found = named or shutil.which("micropython", path=beside) or shutil.which("micropython")
    if found and Path(found).exists():
        return found
    raise BenchError(
        f"no MicroPython at {named}: correct BENCH_MICROPYTHON" if named else f"no MicroPython: run {paths.SETUP}"
    )


def umqtt_folder() -> Path:
    """Return the folder of umqtt.simple, which exists once `umqtt` has fetched it."""
    return paths.made(f"{_UMQTT}-{_UMQTT_VERSION}")


def umqtt() -> Path:
    """Return umqtt.simple as PyPI has it, fetched on first use.

    It is an sdist without a setup.py, which pip refuses; `unearth` downloads it from the index that pip is set up for.

    Returns:
        The path of its one module, `simple.py`.

    Raises:
        BenchError: It cannot be downloaded.
    """
    folder = umqtt_folder()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr.write(f"fetching {_UMQTT} {_UMQTT_VERSION} from the package index, once ...\n")
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            command = [sys.executable, "-m", "unearth", f"{_UMQTT}=={_UMQTT_VERSION}"]
            done = subprocess.run(
                [*command, "--no-binary", "--download", temporary], capture_output=True, text=True, check=False
            )
            archives = list(Path(temporary).glob("*.tar.gz"))
            if done.returncode or not archives:
                raise BenchError(f"{_UMQTT} {_UMQTT_VERSION} was not downloaded: is the package index reachable?")
            with tarfile.open(archives[0]) as archive:
                module = archive.extractfile(f"{folder.name}/umqtt/simple.py")
                assert module  # a file, not a folder
                _write_once(folder, {"umqtt/simple.py": module.read()})
    return folder / "umqtt" / "simple.py"


def _write_once(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder with these files, whole or not at all, unless another process was faster."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        for name, content in files.items():
            path = Path(temporary) / folder.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            (Path(temporary) / folder.name).rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process was faster
                raise


def rom() -> Path:
    """Return a folder with the compiled modules of a board's ROM and image, which are not in its file system.

    It is made once for its content.

    Raises:
        BenchError: umqtt cannot be downloaded, or a module does not compile.
    """
    sources = {"umqtt/simple": umqtt()}
    sources.update({path.stem: path for path in sorted(paths.ESP32_PORT.glob("*.py"))})
    compiled = {name: compile_mpy(source.read_bytes(), f"{name}.py") for name, source in sources.items()}
    digest = hashlib.sha256(b"".join(compiled.values())).hexdigest()[:16]
    folder = paths.made(f"rom-{digest}")
    if not folder.exists():
        _write_once(folder, {f"{name}.mpy": code for name, code in compiled.items()})
    return folder


if __name__ == "__main__":  # make setup: fetch and compile now, or else the first board waits for it
    interpreter()
    rom()
