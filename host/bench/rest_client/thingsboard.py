"""The bench's requests to a server, one method each."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from bench.contract.templates import Template, Value
from bench.errors import NotFound
from bench.rest_client import connectivity
from bench.rest_client.group_keys import GroupKeys
from bench.rest_client.rollouts import Rollouts
from bench.rest_client.session import Declined, Page, id_of, json_object, json_objects
from bench.rest_client.templates import with_required

_MS = 1000
# Seconds that a server may need beyond the timeout of a call.
_GRACE_S = 10
# Devices that are looked at for what the server says of itself.
_SOME = 5


class ThingsBoard(GroupKeys, Rollouts):
    """A server as one user sees it. Logs in at the first request, and again when its token has expired.

    Args:
        http: With the server's URL as its base.
        username: The user's e-mail address.
        password: The user's password.

    Every method raises, besides what it names:

    Raises:
        NotFound: The server does not have it.
        Declined: The server refuses it; the message is the server's.
        Denied: The user must not do this.
        BenchError: The server cannot be reached, or its answer is unexpected.
    """

    async def release(self) -> str:
        """Return the version of ThingsBoard that the server says it is."""
        return str(json_object(await self.get("/api/system/info"))["version"])

    # Profiles.

    async def profiles(self) -> list[dict[str, Any]]:
        """Return all device profiles, by name."""
        return await self.pages("/api/deviceProfiles", sortProperty="name", sortOrder="ASC")

    async def profile(self, name: str) -> dict[str, Any]:
        """Return the profile of this name."""
        for each in await self.pages("/api/deviceProfiles", textSearch=name):
            if each["name"] == name:
                return await self.profile_of_id(id_of(each))
        raise NotFound(f"no profile {name}: see bench profile list, or make it with bench profile create {name}")

    async def profile_of_id(self, profile_id: str) -> dict[str, Any]:
        """Return the profile with this id."""
        return json_object(await self.get(f"/api/deviceProfile/{profile_id}"))

    async def create_profile(
        self,
        name: str,
        strategy: str,
        *,
        key: str | None,
        secret: str | None,
        description: str | None = None,
        **provisioning: Any,
    ) -> dict[str, Any]:
        """Store a new profile, and return it.

        Args:
            name: Its name.
            strategy: A ProvisionType.
            key: Its provisioning key.
            secret: Its provisioning secret.
            description: A text for people.
            provisioning: Further fields of ThingsBoard's `provisionConfiguration` that the strategy needs.
        """
        configuration = {"type": strategy, "provisionDeviceSecret": secret, **provisioning}
        profile = {
            "name": name,
            "description": description,
            "type": "DEFAULT",
            "transportType": "DEFAULT",
            "provisionType": strategy,
            "provisionDeviceKey": key,
            "profileData": {
                "configuration": {"type": "DEFAULT"},
                "transportConfiguration": {"type": "DEFAULT"},
                "provisionConfiguration": configuration,
            },
        }
        return json_object(await self.post("/api/deviceProfile", profile))

    async def delete_profile(self, name: str) -> None:
        """Delete the profile of this name."""
        await self.delete_profile_of_id(id_of(await self.profile(name)))

    async def delete_profile_of_id(self, profile_id: str) -> None:
        """Delete the profile with this id."""
        await self.request("DELETE", f"/api/deviceProfile/{profile_id}")

    # Devices.

    async def devices(self, search: str = "") -> list[dict[str, Any]]:
        """Return all devices that the user may see, by name, or those with this text in their names."""
        path = await self._path_of("devices")
        return await self.pages(path, textSearch=search, sortProperty="name", sortOrder="ASC")

    async def device_infos(self, search: str = "", profile: str = "") -> AsyncIterator[Page]:
        """Yield pages of the devices as `devices` has them, of one profile if it is named, with customers' titles."""
        path, wanted = await self._path_of("deviceInfos"), {"textSearch": search, "type": profile}
        async for page in self.each_page(path, **wanted, sortProperty="name", sortOrder="ASC"):
            yield page

    async def count_devices(self) -> int:
        """Return the number of devices."""
        page = json_object(await self.get(await self._path_of("devices"), pageSize=1, page=0))
        return int(page["totalElements"])

    async def device(self, name: str) -> dict[str, Any]:
        """Return the device of this name."""
        if await self.customer_id():  # only operators may ask for one by name
            for each in await self.devices(name):
                if each["name"] == name:
                    return each
            raise NotFound(f"no device {name} of your customer: see bench device list")
        try:
            return json_object(await self.get("/api/tenant/devices", deviceName=name))
        except NotFound:
            raise NotFound(f"no device {name}: see bench device list") from None

    async def _path_of(self, devices: str) -> str:
        """Return the path of a list of devices: all, or the customer's whose user this is."""
        customer_id = await self.customer_id()
        return f"/api/customer/{customer_id}/{devices}" if customer_id else f"/api/tenant/{devices}"

    async def device_id(self, name: str) -> str:
        """Return the id of the device of this name."""
        return id_of(await self.device(name))

    async def create_device(
        self,
        name: str,
        profile: str,
        *,
        label: str | None = None,
        gateway: bool = False,
        fields: Mapping[str, Value] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Store a new device of the profile of this name, with a random access token, and return it.

        Args:
            name: Its name.
            profile: Its profile's.
            label: A label for people.
            gateway: Whether it speaks for other devices.
            fields: Values of fields, which fit the profile's template.
        """
        found = await self.profile(profile)
        template = await self.template(id_of(found)) if fields else None
        info = with_required(template or Template(), fields, {"gateway": True} if gateway else None)
        form = {"name": name, "label": label, "deviceProfileId": found["id"], "additionalInfo": info}
        made = json_object(await self.post("/api/device", form))
        if fields:
            await self.change_fields(id_of(made), fields)
        return made

    async def create_with_credentials(self, device: dict[str, Any], credentials: dict[str, Any]) -> dict[str, Any]:
        """Store a new device with these credentials, and return it.

        Args:
            device: Its name, `deviceProfileId` and whatever else ThingsBoard keeps of a device.
            credentials: `credentialsType`, `credentialsId` and `credentialsValue`.
        """
        body = {"device": device, "credentials": credentials}
        return json_object(await self.post("/api/device-with-credentials", body))

    async def delete_device(self, name: str) -> None:
        """Delete the device of this name."""
        await self.delete(await self.device_id(name))

    async def delete(self, device_id: str) -> None:
        """Delete the device with this id."""
        await self.request("DELETE", f"/api/device/{device_id}")

    async def credentials(self, device_id: str) -> dict[str, Any]:
        """Return a device's credentials."""
        return json_object(await self.get(f"/api/device/{device_id}/credentials"))

    async def set_credentials(self, device_id: str, kind: str, **fields: str) -> dict[str, Any]:
        """Replace a device's credentials, and return them.

        Args:
            device_id: The device.
            kind: A CredentialsType.
            fields: `credentialsId` or `credentialsValue`, as the type needs.
        """
        body = {**await self.credentials(device_id), "credentialsId": None, "credentialsValue": None, **fields}
        return json_object(await self.post("/api/device/credentials", {**body, "credentialsType": kind}))

    async def bulk_import(self, csv: str, columns: Sequence[dict[str, str]], delimiter: str) -> dict[str, Any]:
        """Create or update devices from CSV, and return ThingsBoard's counts and errors.

        Args:
            csv: One device a line, after a header.
            columns: `type`, and `key` where there is one, of each column.
            delimiter: One character.
        """
        mapping = {"columns": columns, "delimiter": delimiter, "header": True, "update": True}
        return json_object(await self.post("/api/device/bulk_import", {"file": csv, "mapping": mapping}))

    async def claim(self, name: str, secret: str) -> str:
        """Claim a device for the customer whose user this is, and return the server's result."""
        try:
            answer = await self.post(f"/api/customer/device/{quote(name, safe='')}/claim", {"secretKey": secret})
        except Declined as error:
            return str(error)
        return str(json_object(answer)["response"])

    async def association_code(self, device: dict[str, Any], duration_ms: int) -> dict[str, Any]:
        """Have the bench's own server make a code for a device; return it: `associationCode`, `expires`."""
        body = {"deviceId": id_of(device), "durationMs": duration_ms}
        return json_object(await self.post("/api/v1/association/create-association-code", body))

    async def associate(self, code: str) -> str:
        """Use an association code for the customer whose user this is, and return the name of its device."""
        found = await self.post("/api/v1/association/start-association-with-code", {"associationCode": code})
        device_id = json_object(found)["deviceId"]
        return str(json_object(await self.get(f"/api/device/{device_id}"))["name"])

    async def endpoints(self) -> dict[str, tuple[str, int]]:
        """Return host and port by transport, as the server's commands for a device have them; empty if it has none.

        Any device does: only commands that do not go with its kind of credentials are missing.
        """
        some = json_object(await self.get("/api/tenant/devices", pageSize=_SOME, page=0))
        for device in json_objects(some["data"]):
            try:
                found = await self.endpoints_for(id_of(device))
            except NotFound:  # an older release, or the device is gone
                continue
            if found:
                return found
        return {}

    async def endpoints_for(self, device_id: str) -> dict[str, tuple[str, int]]:
        """Return host and port by transport, as the server's commands for this device have them."""
        return connectivity.endpoints(await self.get(f"/api/device-connectivity/{device_id}"))

    async def give_back(self, name: str) -> None:
        """Give a claimed device back: it belongs to nobody, and may be claimed again."""
        await self.request("DELETE", f"/api/customer/device/{quote(name, safe='')}/claim")

    # Devices' data and calls.

    async def attributes(self, device_id: str, scope: str) -> dict[str, Any]:
        """Return a device's attributes of a scope."""
        found = await self.get(f"/api/plugins/telemetry/DEVICE/{device_id}/values/attributes/{scope}")
        return {each["key"]: each["value"] for each in json_objects(found)}

    async def set_attributes(self, device_id: str, scope: str, values: dict[str, Any]) -> None:
        """Set attributes of a scope."""
        await self.post(f"/api/plugins/telemetry/DEVICE/{device_id}/attributes/{scope}", values)

    async def delete_attributes(self, device_id: str, scope: str, keys: Sequence[str]) -> None:
        """Delete attributes of a scope."""
        await self.request(
            "DELETE", f"/api/plugins/telemetry/DEVICE/{device_id}/{scope}", params={"keys": ",".join(keys)}
        )

    async def latest(self, device_id: str) -> dict[str, tuple[int, Any]]:
        """Return the latest entry of every series, `{key: (ms since epoch, value)}`."""
        found = await self.get(f"/api/plugins/telemetry/DEVICE/{device_id}/values/timeseries", useStrictDataTypes=True)
        newest = {key: json_objects(entries) for key, entries in json_object(found).items()}
        return {key: (entries[0]["ts"], entries[0]["value"]) for key, entries in newest.items() if entries}

    async def history(self, device_id: str, keys: Sequence[str], *, seconds: float, limit: int) -> dict[str, Any]:
        """Return entries of series in the last seconds, newest first: `{key: [{"ts": ..., "value": ...}]}`."""
        now = int(time.time() * _MS)
        return json_object(
            await self.get(
                f"/api/plugins/telemetry/DEVICE/{device_id}/values/timeseries",
                keys=",".join(keys),
                startTs=now - int(seconds * _MS),
                endTs=now + 1,
                limit=limit,
                useStrictDataTypes=True,
            )
        )

    async def rpc(self, device_id: str, method: str, params: Any, *, oneway: bool, timeout_s: float) -> Any:
        """Call a device, and return its answer; None for a one-way call.

        Args:
            device_id: The device.
            method: The method.
            params: Its parameters, as JSON.
            oneway: Do not wait for an answer.
            timeout_s: How long the server waits for the device, in seconds.

        Raises:
            NoAnswer: The device is not connected, or does not answer in time.
        """
        way = "oneway" if oneway else "twoway"
        body = {"method": method, "params": params, "timeout": int(timeout_s * _MS)}
        return await self.request("POST", f"/api/rpc/{way}/{device_id}", json=body, timeout=timeout_s + _GRACE_S)

    async def keep_call(self, device_id: str, method: str, params: Any, *, oneway: bool, kept_s: float) -> str:
        """Have a call kept until the device is there, and return its id.

        Args:
            device_id: The device.
            method: The method.
            params: Its parameters, as JSON.
            oneway: The call is over once the device acknowledges it.
            kept_s: How long it is kept, in seconds.
        """
        way = "oneway" if oneway else "twoway"
        body = {"method": method, "params": params, "persistent": True, "timeout": int(kept_s * _MS)}
        return str(json_object(await self.request("POST", f"/api/rpc/{way}/{device_id}", json=body))["rpcId"])

    async def kept_call(self, call_id: str) -> dict[str, Any]:
        """Return a kept call: `status`, `response` and more."""
        return json_object(await self.get(f"/api/rpc/persistent/{call_id}"))
