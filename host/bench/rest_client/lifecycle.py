"""The life of devices: what bench serve keeps of it, and no ThingsBoard."""

from typing import Any

from bench.errors import BenchError, NotFound
from bench.rest_client.accounts import Accounts
from bench.rest_client.session import PAGE, json_object, json_objects

FIELDS = ("serialNumber", "provisioningState", "access", "connectivityStatus")
"""The fields by which devices are found, and that come with each."""
_FIELD = "ENTITY_FIELD"


class Lifecycle(Accounts):
    """The requests about how far devices have come, and whether they may log in."""

    async def lifecycle(self, device_id: str) -> dict[str, Any] | None:
        """Return how far a device has come; None if the server keeps no such thing."""
        try:
            return json_object(await self.get(f"/api/lifecycle/device/{device_id}"))
        except NotFound:
            return None

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

    async def devices_with(self, wanted: dict[str, str], search: str = "") -> list[dict[str, Any]]:
        """Return the devices whose fields have these values, by name: their `name`, `type`, `createdTime` and FIELDS.

        Args:
            wanted: Values, each by one of FIELDS.
            search: A text in their names.

        Raises:
            BenchError: The server has no such fields.
        """
        fields = [{"type": _FIELD, "key": key} for key in ("name", "type", "createdTime", *FIELDS)]
        query: dict[str, Any] = {
            "entityFilter": {"type": "entityType", "entityType": "DEVICE"},
            "keyFilters": [_equal(key, value) for key, value in wanted.items()],
            "entityFields": fields,
        }
        order = {"key": {"type": _FIELD, "key": "name"}, "direction": "ASC"}
        found: list[dict[str, Any]] = []
        for number in range(1 << 31):
            query["pageLink"] = {"pageSize": PAGE, "page": number, "textSearch": search, "sortOrder": order}
            page = json_object(await self.post("/api/entitiesQuery/find", query))
            for row in json_objects(page["data"]):
                values = {key: each["value"] for key, each in json_object(row["latest"][_FIELD]).items()}
                if any(values.get(key) != value for key, value in wanted.items()):
                    raise BenchError("this server keeps no life of devices: only bench serve does")
                found.append(values)
            if not page["hasNext"]:
                break
        return found


def _equal(key: str, value: str) -> dict[str, Any]:
    predicate = {"type": "STRING", "operation": "EQUAL", "value": {"defaultValue": value}}
    return {"key": {"type": _FIELD, "key": key}, "valueType": "STRING", "predicate": predicate}
