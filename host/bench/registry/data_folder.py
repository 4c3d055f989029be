"""A data folder that others can neither write to nor read: whoever could plant a key or an account has the server.

What only its modes are wrong of is put right; what somebody else made is refused.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench import paths
from bench.errors import BenchError
from bench.registry.files import (
    DATABASE_FILE,
    KEY_FILE,
    OPERATOR_FILE,
    PACKAGES_FOLDER,
    PRE_PROVISION_FILE,
    TLS_FOLDER,
)

_OTHERS = 0o077
_OTHERS_WRITE = 0o022
_ROOT = 0
# What the names of a server's files begin with: server.json and server.lock, too.
_OURS = (KEY_FILE, DATABASE_FILE, OPERATOR_FILE, TLS_FOLDER, PACKAGES_FOLDER, PRE_PROVISION_FILE, "server.")


def secure(folder: Path) -> list[str]:
    """Make a data folder if there is none, and see to it that nobody else has a hand in it.

    Args:
        folder: The data folder.

    Returns:
        What others could read or write until now, a sentence each.

    Raises:
        BenchError: Something in it is somebody else's, or others can write to a folder that holds other things as well.
    """
    paths.private_folder(folder)
    _check_owner(folder, folder.lstat())
    _check_owner(folder, folder.stat())
    known = [folder / name for name in (KEY_FILE, DATABASE_FILE, OPERATOR_FILE, TLS_FOLDER)]
    is_ours = any(os.path.lexists(each) for each in known)
    is_new = not any(folder.iterdir())
    mode = folder.stat().st_mode
    if mode & _OTHERS_WRITE and (mode & stat.S_ISVTX or not (is_ours or is_new)):
        raise BenchError(f"others can write to {folder}, which is for other things, too: name another one with --data")
    if is_ours or is_new:
        repaired = [*_close(folder)]
    else:
        return []
    for path in _contents(folder):
        with suppress(FileNotFoundError):  # another process works here: SQLite's files beside the database come and go
            _check_owner(path, path.lstat())
            _check_owner(path, path.stat())
            repaired += _close(path)
    return repaired


def _contents(folder: Path) -> Iterator[Path]:
    """Yield a server's files in a data folder, and its folders for TLS and for packages with the files in them."""
    yield from sorted(each for each in folder.iterdir() if each.name.startswith(_OURS))
    for each in (TLS_FOLDER, PACKAGES_FOLDER):
        yield from sorted((folder / each).glob("*"))


def _check_owner(path: Path, found: os.stat_result) -> None:
    """Raise BenchError if a file is neither this user's nor root's."""
    if found.st_uid not in (os.geteuid(), _ROOT):
        raise BenchError(
            f"{path} belongs to somebody else (user id {found.st_uid}), who may know what is in it: "
            f"delete it, or make it your own with chown {os.geteuid()} {path} if you trust it"
        )


def _close(path: Path) -> Iterator[str]:
    """Take away what others may do with a file or folder, and say what that was.

    Raises:
        BenchError: It is root's, everybody may read or write it, and this user cannot change that.
    """
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if not mode & _OTHERS:
        return
    if found.st_uid == os.geteuid():
        path.chmod(mode & ~_OTHERS)
        yield f"others had access to {path} ({mode:04o}): it is its owner's alone now ({mode & ~_OTHERS:04o})"
    elif mode & 0o007:  # a group that root gave it to, as for a container's volume, is meant
        raise BenchError(f"everybody has access to {path} ({mode:04o}): have root run chmod o-rwx {path}")
