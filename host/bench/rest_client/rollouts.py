"""Rollouts of packages: what bench serve has of them, and no ThingsBoard."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from bench.errors import NotFound
from bench.rest_client.hooks import Hooks
from bench.rest_client.packages import Packages
from bench.rest_client.session import Declined, id_of, json_object

_PATH = "/api/rollouts"
_NEWEST_FIRST = {"sortProperty": "createdTime", "sortOrder": "DESC"}
SHOWN_ID = 8


class Rollouts(Hooks, Packages):
    """The requests about rollouts."""

    async def start_rollout(self, package: dict[str, Any], profile: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Begin a rollout of a package for a profile, and return it; `fields` are those of the route's body."""
        ids = {"packageId": id_of(package), "deviceProfileId": id_of(profile)}
        return json_object(await self._of_rollouts("POST", _PATH, json={**ids, **fields}))

    async def rollouts(self) -> list[dict[str, Any]]:
        """Return all rollouts, the newest first."""
        try:
            return await self.pages(_PATH, **_NEWEST_FIRST)
        except NotFound:
            raise _missing() from None

    async def rollout(self, name: str) -> dict[str, Any]:
        """Return the rollout with an id that begins so, or else the newest one of the profile of this name."""
        known = await self.rollouts()
        found = [each for each in known if name and str(each["id"]).startswith(name.lower())]
        if len(found) > 1:
            raise Declined(f"{len(found)} rollouts have ids that begin with {name}: give more of it")
        found += [each for each in known if each["deviceProfileName"] == name]
        if not found:
            raise NotFound(f"no rollout {name}, and none of a profile of this name: see bench rollout list")
        return found[0]

    async def refreshed(self, rollout: dict[str, Any]) -> dict[str, Any]:
        """Return a rollout as it is now."""
        return json_object(await self._of_rollouts("GET", _path(rollout)))

    async def control_rollout(self, rollout: dict[str, Any], action: str) -> dict[str, Any]:
        """Have a rollout `pause`, `resume` or `stop`; return it as it is then."""
        return json_object(await self._of_rollouts("POST", f"{_path(rollout)}/{action}"))

    async def rollout_devices(self, rollout: dict[str, Any], states: Sequence[str]) -> list[dict[str, Any]]:
        """Return the devices of a rollout that are in these states, all of them for none, by name."""
        return await self.pages(f"{_path(rollout)}/devices", state=list(states), sortProperty="name")

    async def _of_rollouts(self, method: str, path: str, **content: Any) -> Any:
        try:
            return await self.request(method, path, **content)
        except NotFound:
            raise _missing() from None


def _missing() -> NotFound:
    return NotFound("this server has no rollouts: only bench serve does")


def _path(rollout: dict[str, Any]) -> str:
    return f"{_PATH}/{quote(str(rollout['id']), safe='')}"


def shown_rollout_id(rollout: dict[str, Any]) -> str:
    """Return the part of a rollout's id by which people tell them apart."""
    return str(rollout["id"])[:SHOWN_ID]
