"""Writing packages: the same input makes the same bytes."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from bench.flash import firmware
from bench.flash.package import signing
from bench.flash.package.form import HEAD, MAGIC, deflate
from bench.flash.package.manifest import Head, Manifest, PackagedFile, PackageError

_DIGEST_LENGTH = 12
# Of an editor, a version control system and the like; and what Python on the host left beside its modules.
_HIDDEN = re.compile(r"(^|/)(\.|__pycache__/)")


def write(head: Head, files: Mapping[str, bytes], key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """Return a package.

    Args:
        head: Its description; `abi` is filled in from the .mpy files.
        files: Path -> content.
        key: Signs it; without one it is not signed.

    Raises:
        PackageError: The head or a file is not as boards accept it, or there are too many files.
    """
    if head.key and key is None:
        raise PackageError("a new key is only for packages that are signed: name the present one with --sign")
    packed = {path: deflate(content) for path, content in sorted(files.items())}
    manifest = Manifest(
        head=replace(head, abi=_abi(files)),
        files=tuple(
            PackagedFile(
                path=path,
                size=len(files[path]),
                sha256=hashlib.sha256(files[path]).hexdigest(),
                length=len(content),
            )
            for path, content in packed.items()
        ),
    )
    signed, listed = manifest.encode()
    signature = signing.sign(key, signed) if key else signing.UNSIGNED
    start = HEAD.pack(MAGIC, len(signed), signature, hashlib.sha256(signed).digest())
    return b"".join((start, signed, listed, *packed.values()))


def application_files(folder: Path) -> dict[str, bytes]:
    """Return the files of an application, path -> content, without hidden ones and what Python left behind.

    Raises:
        PackageError: It is not a folder, or there are none.
    """
    if not folder.is_dir():
        raise PackageError(f"not a folder: {folder}; name the one with the application's files")
    found = {path: content for path, content in firmware.of_folder(folder).items() if not _HIDDEN.search(path)}
    if not found:
        raise PackageError(f"{folder} has no files to pack")
    return found


def digest(files: Mapping[str, bytes]) -> str:
    """Return a short name for exactly these files, as a version of what has no other."""
    whole = hashlib.sha256()
    for path, content in sorted(files.items()):
        whole.update(f"{path} {hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()[:_DIGEST_LENGTH]


def _abi(files: Mapping[str, bytes]) -> int:
    """Return the ABI of the .mpy files, 0 if there are none. Raises PackageError unless all have the same."""
    found: dict[int, str] = {}
    for path, content in sorted(files.items()):
        if path.endswith(".mpy"):
            if content[:1] != b"M" or len(content) < 2:
                raise PackageError(f"{path} is not a compiled module: compile it with mpy-cross")
            found.setdefault(content[1], path)
    if len(found) > 1:
        (one, path), (other, second) = list(found.items())[:2]
        raise PackageError(f"{path} has ABI {one}, {second} has {other}: compile all with the same mpy-cross")
    return next(iter(found), 0)
