"""The board's settings: `/settings.json`, written by the flash step, checked once at boot (settings_checks.py)."""

import json
import os

from firstboot import memory, temporary
from firstboot.errors import SettingsError

PATH = "/settings.json"
_NEW = "/settings.new"


class Settings:
    """A valid value for every known `section.key`."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Return a setting that is text."""
        return str(self._values[name])

    def number(self, name: str) -> int:
        """Return a setting that is a whole number."""
        return int(self._values[name])  # type: ignore[call-overload, no-any-return]

    def flag(self, name: str) -> bool:
        """Return a setting that is true or false."""
        return bool(self._values[name])

    def networks(self) -> list[tuple[str, str]]:
        """Return the Wi-Fi networks as `(ssid, password)`, the preferred one first; an open one has the password ""."""
        found = [(self.text("wifi.ssid"), self.text("wifi.password"))] if self.text("wifi.ssid") else []
        more = self._values["wifi.networks"]
        return found + [(each["ssid"], each.get("password", "")) for each in more]  # type: ignore[attr-defined]

    def port(self) -> int:
        """Return the server's MQTT port."""
        return self.number("server.port") or (8883 if self.flag("server.tls") else 1883)

    def provision_port(self) -> int:
        """Return the server's port for the provisioning exchange, over HTTP or CoAP."""
        if self.number("provision.port"):
            return self.number("provision.port")
        if self.text("provision.transport") == "coap":
            return 5683
        return 8443 if self.flag("server.tls") else 8080

    def names(self) -> list[str]:
        """Return every setting's name, sorted."""
        return sorted(self._values)

    def value(self, name: str) -> object:
        """Return a setting as it is, of whatever type."""
        return self._values[name]


def load(path: str = PATH) -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: with the key and what is allowed; never with a value, since it may be a secret.
    """
    return check(read(path))


def read(path: str = PATH) -> object:
    """Return the content of the file, not checked; raise SettingsError if it is missing or not JSON."""
    try:
        with open(path) as file:
            text = file.read()
    except OSError as error:
        memory.check(error)
        raise SettingsError("%s is missing: flash the board, or copy one onto it" % path)
    except ValueError:
        raise SettingsError("%s is not UTF-8 text" % path)
    try:
        return loads(text)
    except ValueError:
        raise SettingsError("%s is not JSON" % path)


def loads(text: str | bytes | bytearray | memoryview) -> object:
    """Return the value of JSON as `json.loads` does, with the characters joined that it escapes in two halves."""
    for each in text:
        if each in (92, "\\"):
            with temporary.Imports():
                from firstboot import surrogates

                text = surrogates.join(text.encode() if isinstance(text, str) else text)
                break
    return json.loads(text)  # type: ignore[type-var]


def write(sections: dict[str, dict[str, object]], path: str = PATH) -> None:
    """Make `sections` the file's content, valid or not; a power cut leaves the old file or the new one.

    Raises:
        SettingsError: if they did not reach the flash; the old file stays then.
    """
    text = json.dumps(sections)
    try:
        with open(_NEW, "w") as file:
            file.write(text)
        if read(_NEW) != sections:
            raise SettingsError("what was read back differs from what was written: flash worn out?")
        os.rename(_NEW, path)  # LittleFS replaces the old one in one step
    except OSError as error:
        memory.check(error)
        raise SettingsError("flash write failed (%s): full or worn out?" % error)


def check(sections: object) -> Settings:
    """Return the settings of `{"section": {"key": value}}`; raise SettingsError as `load` does."""
    with temporary.Imports():
        from firstboot import settings_checks

        return Settings(settings_checks.check(sections))
