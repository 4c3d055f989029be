"""Paths of the checkout, and writing files that only their owner can read."""

import os
import threading
from contextlib import suppress
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
FIRMWARE = CHECKOUT / "firmware"
BOARDS = CHECKOUT / "boards"
BUILD = CHECKOUT / "build"
ESP32_PORT = Path(__file__).resolve().parent / "virtual" / "esp32_port"


def private_folder(path: Path) -> Path:
    """Make a folder with mode 0700, for files with secrets, and return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def private_file(path: Path) -> None:
    """Make an empty file with mode 0600 if it does not exist yet."""
    path.touch(mode=0o600)


def write_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 from its first byte, whole or not at all.

    Args:
        path: The file, in a folder that exists.
        data: Its content.

    Raises:
        OSError: With this path for its `filename`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        error.filename = str(path)  # the caller's name of it
        with suppress(OSError):
            temporary.unlink()  # on a full disk it is in the way
        raise
    temporary.replace(path)


def write_private_once(path: Path, data: bytes) -> None:
    """Write a file as `write_private` does, unless another process was faster: its file stays.

    The file is on the disk when this returns, and survives a power cut.

    Raises:
        OSError: As for `write_private`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    write_private(temporary, data)
    _sync(temporary)
    with suppress(FileExistsError):
        path.hardlink_to(temporary)
    temporary.unlink()
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
