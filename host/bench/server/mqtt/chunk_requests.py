"""Requests of a device for parts of packages, over one connection."""

import uuid
from dataclasses import dataclass

from bench.registry.packages import Kind
from bench.server.device_api import DeviceApi
from bench.server.packages import CHUNK_LIMIT, Content, ContentElsewhere, NoPackage

REMEMBERED = 16
"""How many requests of a connection go on with what they began with."""
_KINDS = {each.prefix: each for each in Kind}


class ChunkRefused(Exception):
    """There is no part. `reason`: ThingsBoard's word for why."""

    def __init__(self, reason: bytes) -> None:
        super().__init__(reason.decode())
        self.reason = reason


@dataclass
class _Request:
    content: Content
    size: int = 0


class ChunkRequests:
    """The requests of one connection: one with an id goes on with the package, and the size of parts, of its first.

    Args:
        api: The packages.
        device_id: The device.
    """

    def __init__(self, api: DeviceApi, device_id: uuid.UUID) -> None:
        self._packages = api.packages
        self._device_id = device_id
        self._known: dict[str, _Request] = {}

    async def part(self, request: str, size: int | None, number: int) -> bytes:
        """Return a part of a package.

        Args:
            request: The kind of package and the request's id, `fw/1`.
            size: The size of parts in bytes; 0 or less is all; None is as before with this id, else all.
            number: Which part, from 0.

        Raises:
            ChunkRefused: The size is too large, or there is no content.
        """
        if size is not None and size > CHUNK_LIMIT:
            raise ChunkRefused(b"PAYLOAD_TOO_LARGE")
        try:
            known = self._known.get(request)
            if known is None:
                kind = _KINDS[request.partition("/")[0]]
                known = _Request(await self._packages.of_device(self._device_id, kind))
                self._known[request] = known
                if len(self._known) > REMEMBERED:
                    del self._known[next(iter(self._known))]
            if size is not None:
                known.size = size
            return await self._packages.part(self._device_id, known.content, known.size, number)
        except NoPackage:
            raise ChunkRefused(b"NOT_FOUND") from None
        except ContentElsewhere:
            raise ChunkRefused(b"FAILURE") from None
