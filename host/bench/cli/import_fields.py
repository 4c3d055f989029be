"""Fields of templates in an import: checked before anything is sent, and compared with what devices have."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from bench.cli.import_lines import FileLine
from bench.contract.templates import Template, Value
from bench.errors import Refused
from bench.rest_client import ThingsBoard, id_of, in_parallel


class ImportFields:
    """The templates of profiles that lines may be of.

    Args:
        templates: By the names of their profiles; None for all if the server keeps no templates.
        default: The name of the profile of new devices whose lines name none.
    """

    def __init__(self, templates: Mapping[str, Template | None], default: str) -> None:
        self._templates = templates
        self._default = default

    @classmethod
    async def of(cls, server: ThingsBoard, lines: Sequence[FileLine]) -> Self:
        """Return those on a server: of profiles that lines name, or of all if there are fields in the file."""
        profiles = {each["name"]: each for each in await server.profiles()}
        default = next((name for name, each in profiles.items() if each.get("default")), "")
        wanted = {each.kind or default for each in lines} & profiles.keys()
        names = sorted(profiles) if any(each.line.custom for each in lines) else sorted(wanted)
        found = await in_parallel(names, lambda name: server.template(id_of(profiles[name])))
        return cls(dict(zip(names, found, strict=True)), default)

    def check_new(self, each: FileLine) -> None:
        """Note as a problem of a new device's line that its fields do not fit, or that one is required."""
        try:
            self._template(each.kind or self._default, each).read_new(each.line.custom)
        except Refused as error:
            each.problems.append(str(error))

    async def changes(self, server: ThingsBoard, device: dict[str, Any], each: FileLine) -> list[str]:
        """Return the changes that a line makes to the fields of a device, or note what is wrong with them."""
        if not each.line.custom:
            return []
        try:
            new = self._template(each.kind or device["type"], each).read(each.line.custom)
        except Refused as error:
            each.problems.append(str(error))
            return []
        found = await server.inherited(id_of(device)) or {"fields": {}, "hidden": {}}
        old = {name: one["value"] for name, one in found["fields"].items() if one["own"]} | found["hidden"]
        return [
            f"{name} {json.dumps(old.get(name))} -> {json.dumps(value)}"
            for name, value in new.items()
            if not _is_same(old.get(name), value)
        ]

    def _template(self, profile: str, each: FileLine) -> Template:
        found = self._templates.get(profile, Template())  # one that is made has none
        if found is None and each.line.custom:
            raise Refused("this server keeps no templates, so no columns FIELD.name: only bench serve does")
        return found or Template()


def _is_same(old: Value | None, new: Value) -> bool:
    return old == new and isinstance(old, bool) is isinstance(new, bool)
