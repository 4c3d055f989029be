"""What the flash step wrote for this board: `/settings.json`, checked once at boot."""

import json

from firstboot.errors import SettingsError

PATH = "/settings.json"

# section.key: (type, default, smallest number or shortest text). A default of None: required.
_KNOWN: dict[str, tuple[type, str | int | None, int]] = {
    "server.host": (str, None, 1),
    "server.port": (int, 1883, 1),
    "provision.key": (str, None, 1),
    "provision.secret": (str, None, 1),
    # Who makes the secret: "device" survives a lost answer, "server" does not (docs/troubleshooting.md).
    "provision.made_by": (str, "device", 1),
    "identity.name": (str, "{prefix}-{mac}", 1),
    "identity.prefix": (str, "firstboot", 0),
    "identity.mac": (str, "", 0),
    "wifi.ssid": (str, "", 0),
    "wifi.password": (str, "", 0),
    "wifi.timeout_s": (int, 15, 1),
    "session.telemetry_s": (int, 60, 1),
    "session.keepalive_s": (int, 60, 2),
    "session.timeout_ms": (int, 10000, 1),
    "backoff.base_ms": (int, 1000, 1),
    "backoff.cap_ms": (int, 60000, 1),
    "backoff.long_ms": (int, 600000, 1),
    # 0: off. A watchdog cannot be stopped again, not even by Ctrl-C.
    "board.watchdog_s": (int, 0, 0),
}
_WATCHDOG_LEAST_S = 30
# Fields of 16 bits, and waits that MicroPython's tick arithmetic can hold.
_MOST = {
    "server.port": 65535,
    "wifi.timeout_s": 3600,
    "session.telemetry_s": 86400,
    "session.keepalive_s": 65535,
    "session.timeout_ms": 3600000,
    "backoff.base_ms": 86400000,
    "backoff.cap_ms": 86400000,
    "backoff.long_ms": 86400000,
    "board.watchdog_s": 3600,
}


class Settings:
    """A value for every known `section.key`."""

    def __init__(self, values: dict[str, str | int]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """A setting that is text."""
        return str(self._values[name])

    def number(self, name: str) -> int:
        """A setting that is a whole number."""
        return int(self._values[name])


def load(path: str = PATH) -> Settings:
    """Read and check the settings.

    Raises SettingsError with the key and what is allowed; never shows a value, since it may be a secret.
    """
    try:
        with open(path) as file:
            text = file.read()
    except OSError:
        raise SettingsError("%s is missing: flash the board, or copy one onto it" % path)
    except ValueError:
        raise SettingsError("%s is not UTF-8 text" % path)
    try:
        sections = json.loads(text)
    except ValueError:
        raise SettingsError("%s is not JSON" % path)
    return check(sections)


def check(sections: object) -> Settings:
    """Settings from `{"section": {"key": value}}`; raises SettingsError as `load` does."""
    values: dict[str, str | int] = {}
    if not isinstance(sections, dict):
        raise SettingsError("the settings have to be an object of sections")
    for section, entries in sections.items():
        if not isinstance(entries, dict):
            raise SettingsError("settings section %s has to be an object" % section)
        for key, value in entries.items():
            name = "%s.%s" % (section, key)
            if name not in _KNOWN:
                raise SettingsError("unknown setting %s" % name)
            values[name] = _checked(name, value)
    for name, (_, default, _) in _KNOWN.items():
        if name not in values:
            if default is None:
                raise SettingsError("%s is missing" % name)
            values[name] = default
    _check_meaning(values)
    return Settings(values)


def _check_meaning(values: dict[str, str | int]) -> None:
    # A name's look-up can take half a minute, and nothing feeds the watchdog meanwhile.
    if 0 < int(values["board.watchdog_s"]) < _WATCHDOG_LEAST_S:
        raise SettingsError("board.watchdog_s has to be 0 (off), or %d and more" % _WATCHDOG_LEAST_S)
    if values["provision.made_by"] not in ("device", "server"):
        raise SettingsError('provision.made_by has to be "device" or "server"')


def _checked(name: str, value: object) -> str | int:
    kind, _, least = _KNOWN[name]
    if kind is str:
        if not isinstance(value, str):
            raise SettingsError("%s has to be text" % name)
        if len(value) < least:
            raise SettingsError("%s is empty" % name)
        return value
    # bool is an int to isinstance, and never meant as one here
    if not isinstance(value, int) or isinstance(value, bool):
        raise SettingsError("%s has to be a whole number" % name)
    if not least <= value <= _MOST.get(name, value):
        raise SettingsError("%s is too small or too large" % name)
    return value
