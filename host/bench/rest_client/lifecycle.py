"""The life of devices: what bench serve keeps of it, and no ThingsBoard."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from bench.errors import BenchError, NotFound
from bench.rest_client import device_query
from bench.rest_client.accounts import Accounts
from bench.rest_client.session import json_object, json_objects

FIELDS = ("serialNumber", "provisioningState", "access", "connectivityStatus")
"""The fields by which devices are found, and that come with each."""

# Devices of a page with all that belongs to them.
_RECORDS = 500


class Lifecycle(Accounts):
    """The requests about how far devices have come, and whether they may log in."""

    async def lifecycle(self, device_id: str) -> dict[str, Any] | None:
        """Return how far a device has come; None if the server keeps no such thing."""
        try:
            return json_object(await self.get(f"/api/lifecycle/device/{device_id}"))
        except NotFound:
            return None

    async def records(self, device_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return FIELDS of devices by their ids; a server that keeps no such thing has them empty."""
        found = await device_query.find(self, columns=FIELDS, ids=device_ids) if device_ids else []
        return {each["id"]: each for each in found}

    async def device_records(
        self, *, search: str, profile: str, with_credentials: bool
    ) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        """Yield pages of devices by name, with all that another server can be given, and how many there are in all.

        Args:
            search: A text in their names, labels or profiles; empty for any.
            profile: The name of their profile; empty for any.
            with_credentials: Their credentials, too, which are secret.

        Raises:
            NotFound: The server has no such pages.
        """
        wanted = {"textSearch": search, "type": profile, "withCredentials": with_credentials}
        after, done = "", 0
        while True:
            page = json_object(await self.get("/api/deviceRecords", **wanted, pageSize=_RECORDS, after=after))
            devices, left = json_objects(page["devices"]), int(page["left"])
            yield devices, done + left
            if len(devices) >= left:
                return
            after, done = str(devices[-1]["name"]), done + len(devices)

    async def set_serial_number(self, device_id: str, serial_number: str) -> None:
        """Set the maker's number of a device."""
        await self._change(device_id, "serialNumber", {"serialNumber": serial_number})

    async def deactivate(self, device_id: str) -> dict[str, Any]:
        """Have a device neither log in nor provision."""
        return await self._change(device_id, "deactivate")

    async def activate(self, device_id: str) -> dict[str, Any]:
        """Let a device in again."""
        return await self._change(device_id, "activate")

    async def decommission(self, device_id: str) -> dict[str, Any]:
        """Order a device to wipe itself, and have nobody get its name and credentials again."""
        return await self._change(device_id, "decommission")

    async def _change(self, device_id: str, what: str, body: Any = None) -> dict[str, Any]:
        try:
            return json_object(await self.post(f"/api/lifecycle/device/{device_id}/{what}", body))
        except NotFound:
            raise NotFound("this server keeps no life of devices: only bench serve does") from None

    async def devices_with(self, wanted: dict[str, str], search: str = "") -> list[dict[str, str]]:
        """Return the devices whose fields have these values, by name: their `name`, `type`, `createdTime` and FIELDS.

        Args:
            wanted: Values, each by one of FIELDS, or by `field.NAME` of a template's field, which then comes with each.
            search: A text in their names.

        Raises:
            BenchError: The server has no such fields.
        """
        columns = ("name", "type", "createdTime", *FIELDS, *(each for each in wanted if each not in FIELDS))
        found = await device_query.find(self, columns=columns, fields=wanted, search=search)
        if any(each[key] != value for each in found for key, value in wanted.items()):
            raise BenchError("this server keeps no life of devices: only bench serve does")
        return found
