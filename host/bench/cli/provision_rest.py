"""Devices of `bench provision` on any ThingsBoard: one request a device, and no API keys, which it does not have."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bench.cli.provision_output import SERIAL, Output, Row
from bench.cli.rotation import basic_value
from bench.contract.names import highest_number
from bench.contract.proof import derived_token
from bench.contract.templates import Template, Value
from bench.errors import BenchError, NotFound
from bench.rest_client import ThingsBoard, attempted, id_of, in_parallel
from bench.rest_client.templates import with_required

# So many may be on the server, and not be known to be, when this is killed.
_BATCH = 100
_BASIC = "MQTT_BASIC"


class RestDevices:
    """The devices of one profile on a server."""

    batch = _BATCH

    def __init__(self, server: ThingsBoard, profile: str) -> None:
        self._server = server
        self._name = profile
        self._profile: tuple[dict[str, str], Template] | None = None

    async def template(self) -> Template:
        """Return the template of the profile; the empty one if the server keeps no such thing."""
        return (await self._found())[1]

    async def _found(self) -> tuple[dict[str, str], Template]:
        """Return the profile's id and template."""
        if self._profile is None:
            found = await self._server.profile(self._name)
            self._profile = found["id"], await self._server.template(id_of(found)) or Template()
        return self._profile

    async def keys(self, names: Sequence[str]) -> tuple[str, list[str]]:
        """Return the profile's provisioning key, and the own keys of devices. Raises NotFound at a ThingsBoard."""
        profile = await self._server.profile(self._name)
        return str(profile.get("provisionDeviceKey") or ""), await self._server.device_keys(id_of(profile), names)

    async def highest(self, stem: str) -> int:
        """Return the highest number of the devices that are called STEM and digits."""
        return highest_number((each["name"] for each in await self._server.devices(stem)), stem)

    async def complete(self, rows: Sequence[Row], values: Mapping[str, Value]) -> list[Row]:
        """Make those devices that do not exist, and return the rows that are true then."""
        there = await in_parallel(rows, lambda row: self._is_there(row, values))
        return [row for row, is_there in zip(rows, there, strict=True) if is_there]

    async def add(self, rows: Sequence[Row], output: Output, values: Mapping[str, Value]) -> None:
        """Make devices; their rows are in the output first."""
        output.append([{**row, "api_key": ""} if "api_key" in row else row for row in rows])
        errors = [error for error in await attempted(rows, lambda row: self._make(row, values)) if error is not None]
        if errors:
            raise BenchError(f"{len(errors)} devices were not made ({errors[0]}): run the same command again")

    async def _is_there(self, row: Row, values: Mapping[str, Value]) -> bool:
        try:
            device = await self._server.device(row["device_id"])
        except NotFound:
            await self._make(row, values)
            return True
        own = await self._server.credentials(id_of(device))
        if not _are_same(own, _credentials(row)):
            return False
        await self._complete(device, row, values)
        return True

    async def _make(self, row: Row, values: Mapping[str, Value]) -> None:
        profile_id, template = await self._found()
        device = {"name": row["device_id"], "label": row["name"], "deviceProfileId": profile_id}
        device["additionalInfo"] = with_required(template, values)
        made = await self._server.create_with_credentials(device, _credentials(row))
        await self._complete(made, row, values)

    async def _complete(self, device: dict[str, Any], row: Row, values: Mapping[str, Value]) -> None:
        """Set what only bench serve keeps, which comes after the device."""
        if values:
            await self._server.change_fields(id_of(device), values)
        if SERIAL in row:
            with suppress(NotFound):
                await self._server.set_serial_number(id_of(device), row[SERIAL])


def _credentials(row: Row) -> dict[str, str | None]:
    if "device_key" in row:
        token = derived_token(row["device_key"], row["device_id"])
        return {"credentialsType": "ACCESS_TOKEN", "credentialsId": token, "credentialsValue": None}
    value = basic_value("", row["mqtt_username"], row["mqtt_password"])
    return {"credentialsType": _BASIC, "credentialsId": None, "credentialsValue": value}


def _are_same(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if there["credentialsType"] != wanted["credentialsType"]:
        return False
    if wanted["credentialsType"] == _BASIC:
        return _parts(there["credentialsValue"]) == _parts(wanted["credentialsValue"])
    return bool(there["credentialsId"] == wanted["credentialsId"])


def _parts(text: str) -> dict[str, str]:
    return {key: value for key, value in json.loads(text).items() if value}
