"""Backups of a data folder: a tar file with a copy of the database, the packages, and the keys if wanted.

The first member, `backup.json`, has the other members' digests. Only members that are known here are read.
"""

import asyncio
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from bench import paths
from bench.errors import BenchError
from bench.registry import snapshot
from bench.registry.files import DATABASE_FILE, KEY_FILE, PACKAGES_FOLDER, PRE_PROVISION_FILE
from bench.registry.registry import Registry
from bench.registry.snapshot import Progress
from bench.server import accounts
from bench.server.packages import CONTENT_LIMIT
from bench.server.tls import authority

KEY_FILES = (
    KEY_FILE,
    accounts.FILE,
    PRE_PROVISION_FILE,
    *(
        f"{authority.FOLDER}/{name}"
        for name in (authority.CA_CERTIFICATE, authority.CA_KEY, authority.CERTIFICATE, authority.KEY)
    ),
)
"""The files of a data folder that are worth as much as all that the database seals."""
POSTGRESQL = (
    "Records in PostgreSQL are backed up by pg_dump --format=custom --file FILE DATABASE; "
    f"copy {KEY_FILE}, {accounts.FILE} and {authority.FOLDER}/ of the data folder beside it"
)
"""What to do where the records are not in the folder."""
_FACTS = "backup.json"
_FORMAT = 1
_STAGING = ".restoring"
# Of backup.json and of each key file, in bytes.
_SMALL = 1 << 20
_CHUNK = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class BackupFacts:
    """The content of a backup, in short."""

    made: str
    """UTC, ISO 8601."""
    firstboot: str
    """The version that made it."""
    schema: str
    """The revision of the database's tables."""
    devices: int
    files: dict[str, str]
    """Name -> SHA-256, in hex."""

    @property
    def has_key(self) -> bool:
        """True if it can be restored by itself."""
        return KEY_FILE in self.files


def make(data: Path, file: Path, *, with_keys: bool, on_progress: Progress) -> BackupFacts:
    """Write a backup of a data folder, while a server runs on it or not.

    Args:
        data: The data folder.
        file: The tar file, with mode 0600 from its first byte, whole or not at all. It is replaced if it exists.
        with_keys: Include the database's key, the operator's account, and the server's certificates and keys.
        on_progress: Called with the pages of the database that are copied, and with all of them.

    Raises:
        BenchError: The folder has no SQLite database, or it is damaged.
        OSError: A file cannot be read or written.
    """
    database = data / DATABASE_FILE
    if not database.exists():
        raise BenchError(f"no {DATABASE_FILE} in {data.resolve()}: name its folder with --data. {POSTGRESQL}")
    if with_keys and not (data / KEY_FILE).exists():
        raise BenchError(f"{(data / KEY_FILE).resolve()} is missing: put it back, or back up --without-keys")
    copied = file.with_name(f".{file.name}.{os.getpid()}.sqlite3")
    copied.unlink(missing_ok=True)
    try:
        snapshot.copy(database, copied, on_progress)
        found = snapshot.check(copied)
        members = {DATABASE_FILE: copied}
        contents = {f"{PACKAGES_FOLDER}/{digest}": data / PACKAGES_FOLDER / digest for digest in found.packages}
        members |= {name: path for name, path in sorted(contents.items()) if path.exists()}
        if with_keys:
            members |= {name: data / name for name in KEY_FILES if (data / name).exists()}
        facts = BackupFacts(
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            firstboot=importlib.metadata.version("firstboot"),
            schema=found.schema,
            devices=found.devices,
            files={name: _digest(path) for name, path in members.items()},
        )
        with paths.private_stream(file) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            _add(archive, _FACTS, io.BytesIO(json.dumps({"format": _FORMAT, **asdict(facts)}, indent=2).encode()))
            for name, path in members.items():
                with path.open("rb") as content:
                    _add(archive, name, content)
    finally:
        for each in (copied, copied.with_name(f"{copied.name}-journal")):
            each.unlink(missing_ok=True)
    return facts


def restore(file: Path, data: Path) -> BackupFacts:
    """Put a backup into a data folder, which is made if there is none, and bring its tables up to date.

    The database gets its place last: a restore that was interrupted is repeated. No server may run there.

    Args:
        file: The backup.
        data: The data folder. It may hold the keys already, but no database.

    Raises:
        BenchError: The folder has a database or other keys, or the file is not a whole backup.
        OSError: A file cannot be read or written.
    """
    paths.private_folder(data)
    if (data / DATABASE_FILE).exists():
        raise BenchError(
            f"{(data / DATABASE_FILE).resolve()} exists: move the folder away, or name another with --data"
        )
    staging = data / _STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a restore that was interrupted
    paths.private_folder(staging)
    try:
        with _opened(file) as archive:
            facts = _facts(archive, file)
            for name, digest in facts.files.items():
                _extract(archive, name, digest, staging / name, file)
        for name in facts.files:
            _check_place(data / name, staging / name)
        snapshot.check(staging / DATABASE_FILE)
        if not facts.has_key and (data / KEY_FILE).exists():
            shutil.copyfile(data / KEY_FILE, staging / KEY_FILE)
        if (staging / KEY_FILE).exists():
            asyncio.run(_bring_up_to_date(staging))
        for name in sorted(facts.files, key=lambda name: name == DATABASE_FILE):
            paths.private_folder((data / name).parent)
            (staging / name).replace(data / name)
        paths.sync_names(data)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return facts


async def _bring_up_to_date(folder: Path) -> None:
    """Open the registry as a server would, once: that checks its key, migrates it and empties its log."""
    await (await Registry.open(folder)).close()


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = content.seek(0, io.SEEK_END)
    member.mode = 0o600
    content.seek(0)
    archive.addfile(member, content)


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, mode="r:") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise _no_backup(file, "it is cut off, or not one") from error


def _no_backup(file: Path, why: str) -> BenchError:
    return BenchError(f"{file} is not a whole backup ({why}): name a file that bench backup made")


def _facts(archive: tarfile.TarFile, file: Path) -> BackupFacts:
    try:
        found: dict[str, Any] = json.loads(_member(archive, _FACTS, file).read(_SMALL))
        if found.pop("format") != _FORMAT:
            raise _no_backup(file, "of a newer bench")
        facts = BackupFacts(**found)
        others = {name: digest for name, digest in facts.files.items() if name not in {DATABASE_FILE, *KEY_FILES}}
        contents = {f"{PACKAGES_FOLDER}/{digest}": digest for digest in others.values() if _DIGEST.fullmatch(digest)}
        known = DATABASE_FILE in facts.files and others == contents
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _no_backup(file, f"{_FACTS} cannot be read") from None
    if not known:
        raise _no_backup(file, f"{_FACTS} lists other files")
    return facts


def _member(archive: tarfile.TarFile, name: str, file: Path) -> IO[bytes]:
    with suppress(KeyError):
        if content := archive.extractfile(name):  # None for a folder or a device
            return content
    raise _no_backup(file, f"{name} is missing")


def _extract(archive: tarfile.TarFile, name: str, digest: str, target: Path, file: Path) -> None:
    paths.private_folder(target.parent)
    found, size = hashlib.sha256(), 0
    limit = _SMALL if name in KEY_FILES else CONTENT_LIMIT
    content = _member(archive, name, file)
    with paths.private_stream(target) as written:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            if name != DATABASE_FILE and size > limit:
                raise _no_backup(file, f"{name} is too large")
            found.update(chunk)
            written.write(chunk)
    if found.hexdigest() != digest:
        raise _no_backup(file, f"{name} is damaged")


def _check_place(there: Path, restored: Path) -> None:
    """Raise BenchError if a file would be replaced by another one."""
    if there.exists() and there.read_bytes() != restored.read_bytes():
        raise BenchError(f"{there.resolve()} exists, and is another one: move it away, or name another --data folder")
