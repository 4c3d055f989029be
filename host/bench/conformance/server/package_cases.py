"""A device and a package on a server under check, made and deleted with an operator's account."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.conformance.server.operators import made_device
from bench.conformance.server.subject import CheckedServer
from bench.rest_client import ThingsBoard, id_of
from bench.rest_client.packages import NewPackage

SOURCE = "ThingsBoard: packages of a device (OTA)"
SIZE, PARTS = 400, 3
"""The content's parts: so many, of so many bytes, but for the last one, which is short."""


@dataclass(frozen=True, kw_only=True)
class PackageCase:
    """A device, and a package that it is not assigned yet."""

    server: CheckedServer
    operator: ThingsBoard
    device: dict[str, Any]
    token: str
    package: dict[str, Any]
    content: bytes

    async def assign(self, package: dict[str, Any] | None = None) -> None:
        """Assign the package to the device, or another one."""
        await self.operator.assign_package(await self._device(), package or self.package)

    async def unassign(self) -> None:
        """Take the package from the device."""
        await self.operator.unassign_package(await self._device(), self.package)

    async def _device(self) -> dict[str, Any]:
        return await self.operator.device(self.device["name"])

    def part(self, number: int) -> bytes:
        """Return a part of `SIZE` bytes of the content."""
        return self.content[number * SIZE : (number + 1) * SIZE]


def with_package(server: CheckedServer, use: Callable[[PackageCase], Awaitable[None]], *schemes: str) -> None:
    """Have a check use a device and a package, which are deleted at the end. Raises NotHere without these schemes."""
    server.addresses.at(*schemes)

    async def run(operator: ThingsBoard) -> None:
        # the package outlives the device, as nobody may have it when it is deleted
        async with new_package(operator, server) as (package, content), made_device(operator, server) as device:
            token = str((await operator.credentials(id_of(device)))["credentialsId"])
            case = PackageCase(
                server=server, operator=operator, device=device, token=token, package=package, content=content
            )
            await use(case)

    server.operate(run)


@asynccontextmanager
async def new_package(operator: ThingsBoard, server: CheckedServer) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
    """Make a package of firmware, yield it with its content, and delete it at the end."""
    content = secrets.token_bytes(SIZE * PARTS - SIZE // 2)
    new = NewPackage(kind="fw", title=server.new_name(), version="1.0", file_name="check.bin", content=content)
    made = await operator.upload_package(new)
    try:
        yield made, content
    finally:
        await operator.delete_package(id_of(made))
