"""Client of ThingsBoard's REST API, as far as the bench needs it: for its own server and for any ThingsBoard."""

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import httpx

from bench import proxies
from bench.errors import BenchError, NotFound, Refused
from bench.text import printable

_PAGE = 100
_MS = 1000
# Seconds that a server may need beyond the timeout of a call.
_GRACE_S = 10


class Denied(BenchError):
    """Wrong user name or password, or a user without the permission."""


class NoAnswer(BenchError):
    """A device that was called is not connected, or does not answer in time."""


class ThingsBoard:
    """A server as one user sees it. Logs in at the first request, and again when its token has expired.

    Args:
        http: With the server's URL as its base.
        username: The user's e-mail address.
        password: The user's password.

    Every method raises, besides what it names:

    Raises:
        NotFound: The server does not have it.
        Refused: The server refuses it; the message is the server's.
        Denied: The user must not do this.
        BenchError: The server cannot be reached, or its answer is unexpected.
    """

    def __init__(self, http: httpx.AsyncClient, username: str, password: str) -> None:
        self._http = http
        self._account = {"username": username, "password": password}
        self._token = ""

    # Profiles.

    async def profiles(self) -> list[dict[str, Any]]:
        """Return all device profiles, by name."""
        return await self._pages("/api/deviceProfiles", sortProperty="name", sortOrder="ASC")

    async def profile(self, name: str) -> dict[str, Any]:
        """Return the profile of this name."""
        for each in await self._pages("/api/deviceProfiles", textSearch=name):
            if each["name"] == name:
                return _object(await self.get(f"/api/deviceProfile/{id_of(each)}"))
        raise NotFound(f"no profile {name}: see bench profile list, or make it with bench profile create {name}")

    async def create_profile(
        self, name: str, strategy: str, *, key: str | None, secret: str | None, **provisioning: Any
    ) -> dict[str, Any]:
        """Store a new profile, and return it.

        Args:
            name: Its name.
            strategy: A ProvisionType.
            key: Its provisioning key.
            secret: Its provisioning secret.
            provisioning: Further fields of ThingsBoard's `provisionConfiguration` that the strategy needs.
        """
        configuration = {"type": strategy, "provisionDeviceSecret": secret, **provisioning}
        profile = {
            "name": name,
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
        return _object(await self.post("/api/deviceProfile", profile))

    async def delete_profile(self, name: str) -> None:
        """Delete the profile of this name."""
        await self._request("DELETE", f"/api/deviceProfile/{id_of(await self.profile(name))}")

    # Devices.

    async def devices(self, search: str = "") -> list[dict[str, Any]]:
        """Return all devices, by name, or those with this text in their names."""
        return await self._pages("/api/tenant/devices", textSearch=search, sortProperty="name", sortOrder="ASC")

    async def count_devices(self) -> int:
        """Return the number of devices."""
        return int(_object(await self.get("/api/tenant/devices", pageSize=1, page=0))["totalElements"])

    async def device(self, name: str) -> dict[str, Any]:
        """Return the device of this name."""
        try:
            return _object(await self.get("/api/tenant/devices", deviceName=name))
        except NotFound:
            raise NotFound(f"no device {name}: see bench device list") from None

    async def device_id(self, name: str) -> str:
        """Return the id of the device of this name."""
        return id_of(await self.device(name))

    async def create_device(self, name: str, profile: str, *, label: str | None = None) -> dict[str, Any]:
        """Store a new device of the profile of this name, with a random access token, and return it."""
        profile_id = (await self.profile(profile))["id"]
        return _object(await self.post("/api/device", {"name": name, "label": label, "deviceProfileId": profile_id}))

    async def delete_device(self, name: str) -> None:
        """Delete the device of this name."""
        await self.delete(await self.device_id(name))

    async def delete(self, device_id: str) -> None:
        """Delete the device with this id."""
        await self._request("DELETE", f"/api/device/{device_id}")

    async def credentials(self, device_id: str) -> dict[str, Any]:
        """Return a device's credentials."""
        return _object(await self.get(f"/api/device/{device_id}/credentials"))

    async def set_credentials(self, device_id: str, kind: str, **fields: str) -> dict[str, Any]:
        """Replace a device's credentials, and return them.

        Args:
            device_id: The device.
            kind: A CredentialsType.
            fields: `credentialsId` or `credentialsValue`, as the type needs.
        """
        body = {**await self.credentials(device_id), "credentialsId": None, "credentialsValue": None, **fields}
        return _object(await self.post("/api/device/credentials", {**body, "credentialsType": kind}))

    async def bulk_import(self, csv: str, columns: Sequence[dict[str, str]], delimiter: str) -> dict[str, Any]:
        """Create or update devices from CSV, and return ThingsBoard's counts and errors.

        Args:
            csv: One device a line, after a header.
            columns: `type`, and `key` where there is one, of each column.
            delimiter: One character.
        """
        mapping = {"columns": columns, "delimiter": delimiter, "header": True, "update": True}
        return _object(await self.post("/api/device/bulk_import", {"file": csv, "mapping": mapping}))

    async def claim(self, name: str, secret: str) -> str:
        """Claim a device for the customer whose user this is, and return the server's result."""
        try:
            answer = await self.post(f"/api/customer/device/{quote(name, safe='')}/claim", {"secretKey": secret})
        except Refused as error:
            return str(error)
        return str(_object(answer)["response"])

    # Devices' data and calls.

    async def attributes(self, device_id: str, scope: str) -> dict[str, Any]:
        """Return a device's attributes of a scope."""
        found = await self.get(f"/api/plugins/telemetry/DEVICE/{device_id}/values/attributes/{scope}")
        return {each["key"]: each["value"] for each in _objects(found)}

    async def set_attributes(self, device_id: str, scope: str, values: dict[str, Any]) -> None:
        """Set attributes of a scope."""
        await self.post(f"/api/plugins/telemetry/DEVICE/{device_id}/attributes/{scope}", values)

    async def delete_attributes(self, device_id: str, scope: str, keys: Sequence[str]) -> None:
        """Delete attributes of a scope."""
        await self._request(
            "DELETE", f"/api/plugins/telemetry/DEVICE/{device_id}/{scope}", params={"keys": ",".join(keys)}
        )

    async def latest(self, device_id: str) -> dict[str, tuple[int, Any]]:
        """Return the latest entry of every series, `{key: (ms since epoch, value)}`."""
        found = await self.get(f"/api/plugins/telemetry/DEVICE/{device_id}/values/timeseries", useStrictDataTypes=True)
        newest = {key: _objects(entries) for key, entries in _object(found).items()}
        return {key: (entries[0]["ts"], entries[0]["value"]) for key, entries in newest.items() if entries}

    async def history(self, device_id: str, keys: Sequence[str], *, seconds: float, limit: int) -> dict[str, Any]:
        """Return entries of series in the last seconds, newest first: `{key: [{"ts": ..., "value": ...}]}`."""
        now = int(time.time() * _MS)
        return _object(
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
        return await self._request("POST", f"/api/rpc/{way}/{device_id}", json=body, timeout=timeout_s + _GRACE_S)

    async def audit(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest `limit` rows of the audit trail."""
        page = await self.get("/api/audit/logs", pageSize=limit, page=0, sortProperty="createdTime", sortOrder="DESC")
        return _objects(_object(page)["data"])

    # Requests.

    async def get(self, path: str, **params: Any) -> Any:
        """Send GET, and return the JSON of the answer. Parameters that are "" are left out."""
        return await self._request("GET", path, params={key: value for key, value in params.items() if value != ""})

    async def post(self, path: str, body: Any) -> Any:
        """Send POST with a JSON body, and return the JSON of the answer."""
        return await self._request("POST", path, json=body)

    async def _pages(self, path: str, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        number = 0
        while True:
            page = _object(await self.get(path, pageSize=_PAGE, page=number, **params))
            found += _objects(page["data"])
            if not page["hasNext"]:
                return found
            number += 1

    async def _request(self, method: str, path: str, **content: Any) -> Any:
        if not self._token:
            await self._log_in()
        answer = await self._send(method, path, **content)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            await self._log_in()
            answer = await self._send(method, path, **content)
        return _read(answer)

    async def _log_in(self) -> None:
        self._token = ""
        answer = await self._send("POST", "/api/auth/login", json=self._account)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise BenchError(f"{self._http.base_url} has no login: is it a ThingsBoard, and the URL right?")
        try:
            self._token = str(_object(_read(answer))["token"])
        except Denied as error:
            raise Denied(f"{error}: check the user and the password") from None

    async def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        headers = {"X-Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            return await self._http.request(method, path, headers=headers, **content)
        except UnicodeEncodeError as error:  # as a command line in another encoding, or a server's JSON, may have
            raise Refused(f"{printable(str(error.object))} is not text: its characters cannot be encoded") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            way = proxies.way(str(self._http.base_url)) if self._http.trust_env else ""
            raise BenchError(f"cannot reach {self._http.base_url}{way} ({reason}): {_cure(reason)}") from error


def _cure(reason: str) -> str:
    """Return what to do about a connection that failed; OpenSSL's words are the only sign of its kind."""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return "give the CA of its certificate with --ca, and use a name that is in it"
    if "WRONG_VERSION_NUMBER" in reason:
        return "this port has no TLS, is it http://?"
    return "is it running, and the URL right?"


def id_of(entity: dict[str, Any]) -> str:
    """Return the id of a device or profile as a server gave it. Raises BenchError if it has none."""
    return str(_object(entity["id"])["id"])


class _Object(dict[str, Any]):
    """A JSON object of a server. A member that is not there is the server's fault, not that of who reads it."""

    def __missing__(self, name: str) -> Any:
        raise BenchError(f"the server's answer has no {name}: is it a ThingsBoard, and the URL right?")


def _object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, _Object):
        raise _unexpected(answer, "a JSON object")
    return answer


def _objects(answer: Any) -> list[dict[str, Any]]:
    if not isinstance(answer, list) or not all(isinstance(each, _Object) for each in answer):
        raise _unexpected(answer, "a list of JSON objects")
    return answer


def _unexpected(answer: Any, wanted: str) -> BenchError:
    return BenchError(
        f"the server answered {type(answer).__name__}, not {wanted}: is it a ThingsBoard, and the URL right?"
    )


def _read(answer: httpx.Response) -> Any:
    try:
        body = answer.json(object_hook=_Object) if answer.content else None
    except ValueError:
        body = answer.text
    if answer.is_success:
        return body
    reason = body.get("message") if isinstance(body, dict) else body
    message = str(reason or f"HTTP {answer.status_code}")
    match answer.status_code:
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
            raise Denied(f"the server denies it: {message}")
        case httpx.codes.NOT_FOUND:
            raise NotFound(message)
        case httpx.codes.BAD_REQUEST | httpx.codes.CONFLICT:
            raise Refused(message)
        case httpx.codes.REQUEST_TIMEOUT | httpx.codes.GATEWAY_TIMEOUT:
            raise NoAnswer("no answer in time: is the device online, and does it know the method?")
        case httpx.codes.NOT_ACCEPTABLE:  # of a call; nothing else is answered so
            raise BenchError("the device's answer is not JSON, and lost: have it answer JSON (text in quotes)")
        case httpx.codes.TOO_MANY_REQUESTS:
            wait = answer.headers.get("Retry-After", "60")
            raise BenchError(f"too many failures: try again in {wait} s")
        case _:
            raise BenchError(f"the server answered {answer.status_code}: {message}")
