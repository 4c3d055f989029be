"""Packages of a server, ours or any ThingsBoard: stored, fetched, and assigned to profiles and devices."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError, NotFound
from bench.rest_client.session import Declined, Session, id_of, json_object

KINDS = {"fw": "FIRMWARE", "sw": "SOFTWARE"}
"""The kinds of packages, as topics and attributes begin with them -> as ThingsBoard's REST API has them."""
# A server reads, checks and stores all of a package before it answers.
_PATIENCE_S = 120


@dataclass(frozen=True, kw_only=True)
class NewPackage:
    """A package to be stored.

    Attributes:
        kind: `fw` or `sw`.
        title: Its title.
        version: Its version; together they name it.
        file_name: The name of its file.
        content: The content of that.
        profile_id: The only profile that may have it; empty for any.
    """

    kind: str
    title: str
    version: str
    file_name: str
    content: bytes = field(repr=False)
    profile_id: str = ""

    @property
    def name(self) -> str:
        """Title and version, for messages."""
        return f"{self.title} {self.version}"


class Packages(Session):
    """The requests about packages. Profiles and devices are the objects that the server has of them."""

    async def packages(self) -> list[dict[str, Any]]:
        """Return all packages without their content, by title."""
        return await self.pages("/api/otaPackages", sortProperty="title", sortOrder="ASC")

    async def package(self, title: str, version: str) -> dict[str, Any]:
        """Return the package of this title and version, without its content."""
        found = await self.find_package(title, version)
        if found is None:
            raise NotFound(f"no package {title} {version}: see bench package list")
        return found

    async def find_package(self, title: str, version: str) -> dict[str, Any] | None:
        """Return the package of this title and version, without its content; None if there is none."""
        for each in await self.pages("/api/otaPackages", textSearch=title):
            if (each["title"], each["version"]) == (title, version):
                return each
        return None

    async def upload_package(self, new: NewPackage) -> dict[str, Any]:
        """Store a package, unless the server has exactly this one; return it.

        One that was made and is without content, as an interrupted upload leaves it, gets this content. What the
        server says it has is compared with what was sent.

        Raises:
            Declined: There is another package of this title and version, or the server refuses it.
        """
        sha256 = hashlib.sha256(new.content).hexdigest()
        found = await self.find_package(new.title, new.version)
        if found is None:
            profile = {"deviceProfileId": {"entityType": "DEVICE_PROFILE", "id": new.profile_id}}
            form = {"type": KINDS[new.kind], "title": new.title, "version": new.version}
            found = json_object(await self.post("/api/otaPackage", form | profile if new.profile_id else form))
        elif found["type"] != KINDS[new.kind] or (found["hasData"] and not _holds(found, sha256)) or found.get("url"):
            raise Declined(f"there is another package {new.name}: choose another version, or delete that one")
        if found["hasData"]:
            return found
        stored = json_object(
            await self.request(
                "POST",
                f"/api/otaPackage/{id_of(found)}",
                params={"checksumAlgorithm": "SHA256", "checksum": sha256},
                files={"file": (new.file_name, new.content, "application/octet-stream")},
                timeout=_PATIENCE_S,
            )
        )
        if not _holds(stored, sha256):
            raise BenchError(f"the server stored another content than was sent: delete {new.name}, and try again")
        return stored

    async def package_content(self, package: dict[str, Any]) -> bytes:
        """Return the content of a package."""
        return await self.content(f"/api/otaPackage/{id_of(package)}/download", timeout=_PATIENCE_S)

    async def delete_package(self, package_id: str) -> None:
        """Delete the package with this id. Raises Declined: somebody is to have it."""
        await self.request("DELETE", f"/api/otaPackage/{package_id}")

    async def assign_package(self, to: dict[str, Any], package: dict[str, Any]) -> None:
        """Have a device, or all devices of a profile, fetch a package."""
        await self._save(to, {_field(package): package["id"]})

    async def unassign_package(self, to: dict[str, Any], package: dict[str, Any]) -> None:
        """Take a package from a device or a profile. Raises Declined: it does not have this one."""
        if not has_package(to, package):
            raise Declined(f"{to['name']} is not assigned {package['title']} {package['version']}")
        await self._save(to, {_field(package): None})

    async def _save(self, what: dict[str, Any], changes: dict[str, Any]) -> None:
        path = "/api/deviceProfile" if "provisionType" in what else "/api/device"
        await self.post(path, {**what, **changes})


def has_package(one: dict[str, Any], package: dict[str, Any]) -> bool:
    """Return whether a device or a profile is itself assigned a package."""
    return _id_in(one.get(_field(package))) == id_of(package)


def only_profile(package: dict[str, Any]) -> str:
    """Return the id of the only profile that may have a package; "" if all may."""
    return _id_in(package["deviceProfileId"])


def _field(package: dict[str, Any]) -> str:
    """Return where devices and profiles have the id of such a package."""
    return "firmwareId" if package["type"] == KINDS["fw"] else "softwareId"


def _id_in(reference: Any) -> str:
    """Return the id in an answer's reference to something; "" if it refers to nothing."""
    return "" if reference is None else str(json_object(reference)["id"])


def _holds(package: dict[str, Any], sha256: str) -> bool:
    return package["checksumAlgorithm"] == "SHA256" and str(package["checksum"]).lower() == sha256
