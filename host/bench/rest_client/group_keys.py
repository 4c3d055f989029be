"""Group keys of profiles, and what becomes of devices that provision again: of bench serve, and of no ThingsBoard."""

from collections.abc import Sequence
from typing import Any

from bench.errors import NotFound
from bench.registry.provision_type import Again
from bench.rest_client.session import json_object
from bench.rest_client.templates import Templates

# Names of one request.
_AT_ONCE = 1000


class GroupKeys(Templates):
    """The requests about group keys. Profiles are named by their ids."""

    async def provisioning(self, profile_id: str) -> dict[str, Any] | None:
        """Return `hasGroupKey` and `again` of a profile; None if the server has no such thing."""
        try:
            return json_object(await self.get(_path(profile_id)))
        except NotFound:
            return None

    async def set_again(self, profile_id: str, again: Again) -> None:
        """Set what becomes of a profile's devices that provision again."""
        await self._request_own("POST", _path(profile_id), {"again": again.value})

    async def replace_group_key(self, profile_id: str) -> str:
        """Make a profile's group key, in the place of the one it has, and return it: it is never shown again."""
        return str((await self._request_own("POST", _path(profile_id, "/groupKey")))["groupKey"])

    async def remove_group_key(self, profile_id: str) -> None:
        """Remove a profile's group key."""
        await self._request_own("DELETE", _path(profile_id, "/groupKey"))

    async def device_keys(self, profile_id: str, names: Sequence[str]) -> list[str]:
        """Return the own keys of devices, existing or not, which follow from a profile's group key."""
        found: list[str] = []
        for at in range(0, len(names), _AT_ONCE):
            body = {"deviceNames": list(names[at : at + _AT_ONCE])}
            found += (await self._request_own("POST", _path(profile_id, "/deviceKeys"), body))["deviceKeys"]
        return found

    async def _request_own(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            return json_object(await self.request(method, path, json=body))
        except NotFound:
            raise NotFound("this server keeps no group keys: only bench serve does") from None


def _path(profile_id: str, what: str = "") -> str:
    return f"/api/provisioning/deviceProfile/{profile_id}{what}"
