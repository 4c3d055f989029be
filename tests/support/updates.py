"""Updates of a board's firmware or application: packages, assigned as an operator does."""

import time
from typing import Any

from bench.flash import firmware, package
from bench.flash.package import Head, Kind
from tests.support.operators import login, ok
from tests.support.packages import assign, new_package

NEXT = "9.9.9"
PATIENCE_S = 20
_VERSION = "firstboot/__init__.mpy"


def firmware_files(version: str = NEXT, **changes: bytes | None) -> dict[str, bytes]:
    """Return the firmware's tree with another version; a change is `module=source`, with None it is left out."""
    tree = {path: content for path, content in firmware.files().items() if path.startswith("firstboot/")}
    tree[_VERSION] = firmware.compile_mpy(f'__version__ = "{version}"\n'.encode(), "firstboot")
    for module, source in changes.items():
        path = f"firstboot/{module.replace('__', '/')}.mpy"
        if source is None:
            del tree[path]
        else:
            tree[path] = firmware.compile_mpy(source, f"firstboot.{module.replace('__', '.')}")
    return tree


def firmware_package(
    version: str = NEXT, *, files: Any = None, key: Any = None, new_key: str = "", **head: Any
) -> bytes:
    """Return a package with the firmware, or with these files."""
    described = Head(kind=Kind.FIRMWARE, title="firstboot", version=version, key=new_key, **head)
    return package.write(described, firmware_files(version) if files is None else files, key)


def application_package(files: dict[str, bytes], version: str = "1", **head: Any) -> bytes:
    return package.write(Head(kind=Kind.SOFTWARE, title="press", version=version, **head), files)


class Updates:
    """An operator who gives a device packages.

    Args:
        server: a running server.
        name: the device's, which is there already.
    """

    def __init__(self, server: Any, name: str) -> None:
        self._server = server
        self._client = login(server)
        self._name = name

    def close(self) -> None:
        self._client.close()

    @property
    def device(self) -> Any:
        return ok(self._client.get("/api/tenant/devices", params={"deviceName": self._name}))

    def assign(self, data: bytes, version: str = NEXT, *, title: str = "", kind: str = "FIRMWARE") -> Any:
        """Upload a package and assign it to the device."""
        title = title or ("firstboot" if kind == "FIRMWARE" else "press")
        made = new_package(self._client, data, kind, title=title, version=version)
        self.give(made, kind)
        return made

    def give(self, made: Any, kind: str = "FIRMWARE") -> None:
        assign(self._client, self.device, made, "firmwareId" if kind == "FIRMWARE" else "softwareId")

    def until(self, **values: str) -> dict[str, Any]:
        """Return the device's latest telemetry once it has these values."""
        deadline = time.monotonic() + PATIENCE_S
        while not values.items() <= (found := self.latest()).items():
            assert time.monotonic() < deadline, f"{values} is not in {found}"
            time.sleep(0.02)  # another process' telemetry: nothing here could be awaited
        return found

    def latest(self) -> dict[str, Any]:
        """Return the device's latest telemetry."""
        path = f"/api/plugins/telemetry/DEVICE/{self.device['id']['id']}/values/timeseries"
        return {key: values[0]["value"] for key, values in ok(self._client.get(path)).items()}


def in_force(events: list[dict[str, Any]]) -> list[str]:
    """Return the versions of the firmware that booted, in order."""
    return [event["firmware"] for event in events if event["event"] == "boot"]
