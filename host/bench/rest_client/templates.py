"""Templates of profiles, and devices' fields: what bench serve keeps of them, and no ThingsBoard."""

from collections.abc import Mapping
from typing import Any

from bench.contract import templates
from bench.contract.templates import Template, Value
from bench.errors import NotFound
from bench.rest_client.lifecycle import Lifecycle
from bench.rest_client.session import json_object

_PATH = "/api/template"


def with_required(template: Template, values: Mapping[str, Any], info: Any = None) -> Any:
    """Return the additional information that gives a new device what its template requires, beside what it has.

    A value that does not fit, or is not there, is `None`: it has none yet.
    """
    required = {name: each for name, each in template.fields.items() if each.required}
    if not required:
        return info
    given = {name: values[name] if each.is_valid(values.get(name)) else None for name, each in required.items()}
    return {**(info if isinstance(info, dict) else {}), "fields": given}


class Templates(Lifecycle):
    """The requests about templates."""

    async def template(self, profile_id: str) -> Template | None:
        """Return the template of a profile; None if the server keeps no such thing."""
        try:
            return templates.parse(json_object(await self.get(f"{_PATH}/deviceProfile/{profile_id}")))
        except NotFound:
            return None

    async def set_template(self, profile_id: str, template: Template) -> None:
        """Replace the template of a profile."""
        await self._replace(f"deviceProfile/{profile_id}", template.to_json())

    async def inherited(self, device_id: str) -> dict[str, Any] | None:
        """Return what a device has by its template: `fields`, `hidden`, `telemetry`, `topics`; None likewise."""
        try:
            return json_object(await self.get(f"{_PATH}/device/{device_id}"))
        except NotFound:
            return None

    async def own_fields(self, device_id: str) -> dict[str, Value]:
        """Return a device's own values, without hidden ones; none if the server keeps no such thing."""
        found = (await self.inherited(device_id) or {}).get("fields", {})
        return {name: each["value"] for name, each in sorted(found.items()) if each["own"]}

    async def change_fields(self, device_id: str, changes: Mapping[str, Value | None]) -> dict[str, Any]:
        """Change values that a device has of its own, and return what it has then; None removes a value."""
        return await self._replace(f"device/{device_id}/fields", dict(changes))

    async def _replace(self, path: str, body: Any) -> dict[str, Any]:
        try:
            return json_object(await self.post(f"{_PATH}/{path}", body))
        except NotFound:
            raise NotFound("this server keeps no templates: only bench serve does") from None
