"""Webhooks: what bench serve has of them, and no ThingsBoard."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from bench.errors import BenchError, NotFound
from bench.rest_client.lifecycle import Lifecycle
from bench.rest_client.session import Declined, json_object, json_objects

_PATH = "/api/hooks"
SHOWN_ID = 8
_ELSEWHERE = "this server asks no hooks: only bench serve does"


class Hooks(Lifecycle):
    """The requests about webhooks, and events that could not be sent."""

    async def hooks(self) -> list[dict[str, Any]]:
        """Return all webhooks, the oldest first."""
        try:
            return json_objects(await self.get(_PATH))
        except NotFound:
            raise NotFound("this server has no webhooks: only bench serve does") from None

    async def hook(self, hook_id: str) -> dict[str, Any]:
        """Return the webhook with an id that begins so."""
        found = [each for each in await self.hooks() if hook_id and str(each["id"]).startswith(hook_id.lower())]
        if not found:
            raise NotFound(f"no webhook {hook_id}: see bench hook list")
        if len(found) > 1:
            raise Declined(f"{len(found)} webhooks have ids that begin with {hook_id}: give more of it")
        return found[0]

    async def add_hook(self, url: str, events: Sequence[str]) -> dict[str, Any]:
        """Have events sent to a URL; return the webhook, this once with its `secret`."""
        try:
            return json_object(await self.post(_PATH, {"url": url, "events": list(events)}))
        except NotFound:
            raise NotFound("this server has no webhooks: only bench serve does") from None

    async def remove_hook(self, hook_id: str) -> dict[str, Any]:
        """Have nothing more sent to a webhook's URL; return the webhook."""
        found = await self.hook(hook_id)
        await self.request("DELETE", _path(found))
        return found

    async def enable_hook(self, hook_id: str) -> dict[str, Any]:
        """Have a webhook be sent events again; return it."""
        found = await self.hook(hook_id)
        await self.post(f"{_path(found)}/enable", None)
        return found

    async def test_hook(self, hook_id: str) -> str:
        """Have an event sent for a test; return "" if it was received, or else why not."""
        found = await self.hook(hook_id)
        result = json_object(await self.post(f"{_path(found)}/test", None))
        return "" if result["received"] else str(result["result"])

    async def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """Return events that could not be sent, the newest first."""
        return json_objects(await self.get(f"{_PATH}/dead", limit=limit))

    async def replay(self, letter_id: str) -> int:
        """Have a dead letter sent again, or all of them for ""; return how many."""
        path = f"{_PATH}/dead/{quote(letter_id, safe='')}/replay" if letter_id else f"{_PATH}/dead/replay"
        found = json_object(await self.post(path, None))["replayed"]
        if not isinstance(found, int):
            raise BenchError("the server did not say how many events are sent again")
        return found

    # Profiles' own, by their profiles' ids.

    async def profile_hook(self, profile_id: str) -> dict[str, Any]:
        """Return `url`, `timeout` and `default` of a profile's hook; the URL is None if it has none."""
        return await self._request_hook("GET", _of_profile(profile_id))

    async def set_profile_hook(self, profile_id: str, url: str, timeout_s: float, default: str) -> dict[str, Any]:
        """Give a profile a hook; return it, this once with its `secret`."""
        body = {"url": url, "timeout": timeout_s, "default": default}
        return await self._request_hook("POST", _of_profile(profile_id), body)

    async def remove_profile_hook(self, profile_id: str) -> None:
        """Remove the hook of a profile."""
        try:
            await self.request("DELETE", _of_profile(profile_id))
        except NotFound:
            raise NotFound(_ELSEWHERE) from None

    async def _request_hook(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            return json_object(await self.request(method, path, json=body))
        except NotFound:
            raise NotFound(_ELSEWHERE) from None


def _of_profile(profile_id: str) -> str:
    return f"{_PATH}/deviceProfile/{quote(profile_id, safe='')}"


def _path(hook: dict[str, Any]) -> str:
    return f"{_PATH}/{quote(str(hook['id']), safe='')}"


def shown_hook_id(hook: dict[str, Any]) -> str:
    """Return the part of a webhook's id by which people tell them apart."""
    return str(hook["id"])[:SHOWN_ID]
