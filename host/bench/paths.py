"""Paths of the checkout or the installed package, and writing files that only their owner can read."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import platformdirs

from bench.errors import BenchError, UsageError

_PACKAGE = Path(__file__).resolve().parent
CHECKOUT = _PACKAGE.parents[1]
_WHEELS_DATA = _PACKAGE / "data"  # only in an installed wheel, see pyproject.toml
_DATA = _WHEELS_DATA if _WHEELS_DATA.is_dir() else CHECKOUT
FIRMWARE = _DATA / "firmware"
BOARDS = _DATA / "boards"
BUILD = CHECKOUT / "build"
ESP32_PORT = _PACKAGE / "virtual" / "esp32_port"
SETUP = "make setup" if _DATA is CHECKOUT else "pip install --force-reinstall firstboot"
"""The command that installs what is missing."""


def user_cache() -> Path:
    """Return the user's folder for what can be made or downloaded again; it may not exist yet.

    It is `firstboot` in XDG's cache folder, or one below /tmp for a user without a home, as containers have them.

    Raises:
        BenchError: The folder below /tmp belongs to somebody else.
    """
    with suppress(RuntimeError):  # a user without a home
        folder = platformdirs.user_cache_path("firstboot")
        if folder.is_absolute() and _is_writable(folder):  # older releases return ~/.cache as it stands
            return folder
    return _below_tmp()


def provide_home() -> None:
    """Give this process and those that it starts a home if the user has none: esptool and mpremote end without one.

    Raises:
        BenchError: As for `user_cache`.
    """
    try:
        Path.home()
    except RuntimeError:  # a user id without a passwd entry, and no HOME
        os.environ["HOME"] = str(_below_tmp())


def _below_tmp() -> Path:
    folder = private_folder(Path(tempfile.gettempdir()) / f"firstboot-{os.geteuid()}")
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise BenchError(f"{folder} belongs to somebody else: set HOME and XDG_CACHE_HOME to folders of your own")
    return folder


def made(name: str) -> Path:
    """Return the path of a file or folder that is compiled or fetched once: where it is, or where it can be made.

    That is in the checkout's `build/`, or in the user's cache: of an installed package, and of a checkout that
    somebody else set up.

    Args:
        name: Its path below either folder. The folder that it goes to may not exist yet.
    """
    places = [] if _DATA is _WHEELS_DATA else [BUILD / name]
    places.append(user_cache() / name)
    found = next((each for each in places if os.access(each, os.R_OK)), None)
    return found or next((each for each in places if _is_writable(each.parent)), places[-1])


def _is_writable(folder: Path) -> bool:
    """Return whether this user can write to a folder, or make it if it does not exist."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return os.access(there, os.W_OK | os.X_OK)


def private_folder(path: Path) -> Path:
    """Make a folder with mode 0700, for files with secrets, and return it; so are those above it that do not exist."""
    for folder in reversed((path, *path.parents)):
        if folder == path or not folder.exists():
            folder.mkdir(exist_ok=True, mode=0o700)
    return path


def check_place(path: Path) -> None:
    """Check that a file can be written, before any work is done for it.

    Raises:
        UsageError: Its folder does not exist, it is a folder itself, or this user may not write it.
    """
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for {path.name}: make it first")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written: name another file")


def private_file(path: Path) -> None:
    """Make an empty file with mode 0600 if it does not exist yet."""
    path.touch(mode=0o600)


def write_private(path: Path, data: bytes, *, is_durable: bool = False) -> None:
    """Write a file with mode 0600 from its first byte, whole or not at all, and through no link.

    Args:
        path: The file, in a folder that exists.
        data: Its content.
        is_durable: The file is on the disk when this returns, and survives a power cut.

    Raises:
        OSError: With this path for its `filename`.
    """
    with private_stream(path, is_durable=is_durable) as file:
        file.write(data)


def write_private_once(path: Path, data: bytes) -> None:
    """Write a file as `write_private` does, unless another process was faster: its file stays.

    The file is on the disk when this returns, and survives a power cut.

    Raises:
        OSError: As for `write_private`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    write_private(temporary, data, is_durable=True)
    with suppress(FileExistsError):
        path.hardlink_to(temporary)
    temporary.unlink()
    sync_names(path.parent)


@contextmanager
def private_stream(path: Path, *, is_durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield a file to write, with mode 0600 from its first byte, which gets its name at the end of the block.

    What the path named before is replaced. If the block raises, nothing is left.

    Args:
        path: The file, in a folder that exists.
        is_durable: The file is on the disk at the end of the block, and survives a power cut.

    Raises:
        OSError: With this path for its `filename`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed and had this number
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            if is_durable:  # before it has its name: that of an empty file would stand for it
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if is_durable:
            sync_names(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)  # the caller's name of it
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def sync_names(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
