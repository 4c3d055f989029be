"""An operator's calls to a board and changes of it, over the REST API."""

import json
from typing import Any

import httpx

from tests.support import operators


class Orders:
    """Calls and changes for the device of one name."""

    def __init__(self, http: httpx.Client, name: str) -> None:
        self._http = http
        self._name = name
        found = self._http.get("/api/tenant/devices", params={"deviceName": name}).json()
        self._id = found["id"]["id"]

    def call(self, method: str, params: Any = None) -> Any:
        """Return the board's answer to a call; None if it never came."""
        body = {"method": method, "params": params or {}, "timeout": 5000}
        answer = self._http.post(f"/api/rpc/twoway/{self._id}", json=body)
        return answer.json() if answer.status_code == 200 else None

    def credentials(self) -> dict[str, Any]:
        """Return the device's credentials, as the server has them."""
        return self._http.get(f"/api/device/{self._id}/credentials").json()

    def save(self, fields: dict[str, str]) -> None:
        """Save a board's new credentials on the server, in the fields of the board's answer."""
        form = self.credentials()
        form["credentialsType"] = fields["credentialsType"]
        form["credentialsId"] = fields.get("token", "")
        form["credentialsValue"] = fields.get("hash")
        if "username" in fields:
            value = {"clientId": fields["clientId"], "userName": fields["username"], "password": fields["password"]}
            form["credentialsValue"] = json.dumps(value)
        operators.ok(self._http.post("/api/device/credentials", json=form))

    def share(self, **values: Any) -> None:
        """Set shared attributes."""
        operators.ok(self._http.post(f"/api/plugins/telemetry/DEVICE/{self._id}/attributes/SHARED_SCOPE", json=values))
