"""Packages that devices fetch: their content as files in the data folder, and who is notified of which.

A file is called by its SHA-256, so two packages may share one. It is there, and on the disk, before a package names it,
and goes after the last one that does.
"""

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from bench import paths
from bench.errors import Refused
from bench.registry import checksums, packages
from bench.registry.checksums import Algorithm
from bench.registry.files import PACKAGES_FOLDER
from bench.registry.packages import Kind
from bench.registry.registry import Registry
from bench.server.journal import Journal

CONTENT_LIMIT = (16 << 20) - 65536
"""Bytes of one package: those of an operator's longest body, but for its form."""
CHUNK_LIMIT = 65536
"""Bytes of a part that is asked for by its size, as upstream has it over MQTT."""
# Parts that are read at once, whoever asks for them: the others wait.
_READERS = 4
# Seconds between two looks for devices that were not notified, besides those after an assignment.
_LOOK_S = 60.0


class NoPackage(Exception):
    """A device is to have no package of this kind, or its content is not there."""


class ContentElsewhere(Exception):
    """A device is to have a package whose content is at its URL."""


@dataclass(frozen=True)
class Content:
    """The content of a package."""

    title: str
    version: str
    file_name: str
    size: int
    path: Path

    def span(self, size: int, number: int) -> range:
        """Return the offsets of a part; none past the end.

        Args:
            size: The size of each part in bytes; 0 or less: there is one part, which is all.
            number: Which part, from 0; a negative one is the first.
        """
        start, length = (size * max(number, 0), size) if size > 0 else (0, self.size)
        return range(min(start, self.size), min(start + length, self.size))


class Packages:
    """The content of a registry's packages."""

    def __init__(self, registry: Registry, journal: Journal) -> None:
        self._registry = registry
        self._journal = journal
        self._folder = registry.folder / PACKAGES_FOLDER
        self._readers = asyncio.Semaphore(_READERS)
        self._turns: WeakValueDictionary[uuid.UUID, asyncio.Lock] = WeakValueDictionary()
        self._assigned = asyncio.Event()
        self.changing = asyncio.Lock()
        """Held while content is stored for a package, or a package is deleted: another one may have the same file."""

    # For operators.

    async def store(self, data: bytes, algorithm: Algorithm, expected: str | None) -> tuple[str, str]:
        """Store content, and return its checksum and its SHA-256, both as lower-case hex.

        Args:
            data: All of it.
            algorithm: Of the checksum.
            expected: The checksum as somebody else made it; None: nobody did.

        Raises:
            Refused: There is none, there is too much, or the checksum is another.
        """
        if not data:
            raise Refused("OtaPackage file should be specified!")
        if len(data) > CONTENT_LIMIT:
            raise Refused(f"A package may have at most {CONTENT_LIMIT} bytes!")
        return await asyncio.to_thread(self._store, data, algorithm, expected)

    def _store(self, data: bytes, algorithm: Algorithm, expected: str | None) -> tuple[str, str]:
        checksum = checksums.of(algorithm, data)
        if expected and expected.lower() != checksum:
            raise Refused("Wrong otaPackage file!")
        digest = hashlib.sha256(data).hexdigest()
        with paths.private_stream(paths.private_folder(self._folder) / digest) as file:
            file.write(data)
        return checksum, digest

    def path(self, digest: str) -> Path:
        """Return the file of a content."""
        return self._folder / digest

    async def forget_unused(self) -> None:
        """Delete the files that no package has; `changing` is held."""
        used = await self._registry.read(packages.digests)

        def forget() -> None:
            for each in self._folder.glob("*"):
                if each.name not in used:
                    each.unlink()

        await asyncio.to_thread(forget)

    # For devices.

    async def of_device(self, device_id: uuid.UUID, kind: Kind) -> Content:
        """Return the content that a device is to have. Raises NoPackage or ContentElsewhere."""
        found = await self._registry.read(lambda session: packages.of_device(session.connection(), device_id, kind))
        if found is None:
            raise NoPackage
        if found.digest is None:
            raise ContentElsewhere if found.url is not None else NoPackage
        return Content(found.title, found.package_version, found.file_name, found.size, self.path(found.digest))

    async def part(self, device_id: uuid.UUID, content: Content, size: int, number: int) -> bytes:
        """Return a part of a content. It is empty past the end.

        Args:
            device_id: The device that asks.
            content: The content.
            size: As of `Content.span`.
            number: Likewise.

        Raises:
            NoPackage: The content is not there any more.
        """
        span = content.span(size, number)
        return await self._piece(device_id, content, span.start, len(span)) if span else b""

    async def pieces(self, device_id: uuid.UUID, content: Content, span: range) -> AsyncIterator[bytes]:
        """Yield a part in pieces of at most `CHUNK_LIMIT` bytes: no more of it is in memory. Raises as `part`."""
        for at in span[::CHUNK_LIMIT]:
            yield await self._piece(device_id, content, at, min(CHUNK_LIMIT, span.stop - at))

    async def _piece(self, device_id: uuid.UUID, content: Content, start: int, length: int) -> bytes:
        """Read some bytes: of each device one piece at a time, however many connections it has."""
        turn = self._turns.get(device_id)
        if turn is None:
            turn = self._turns[device_id] = asyncio.Lock()
        async with turn, self._readers:
            try:
                return await asyncio.to_thread(_read, content.path, start, length)
            except FileNotFoundError:
                raise NoPackage from None

    # Notifying.

    def assigned(self) -> None:
        """Have devices notified that are to have another package than before."""
        self._assigned.set()

    async def run(self) -> None:
        """Notify devices, a thousand in a transaction, until cancelled. A failure is an event, and tried again."""
        while True:
            self._assigned.clear()
            try:
                while behind := await self._registry.read(packages.behind):
                    await self._registry.write(packages.notify_devices, behind)
            except Exception as error:  # noqa: BLE001 - whatever it was, the server goes on
                self._journal.failure(error, what="packages")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._assigned.wait(), _LOOK_S)


def _read(path: Path, start: int, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, start)
    finally:
        os.close(descriptor)
