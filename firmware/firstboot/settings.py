"""What the flash step wrote for this board: `/settings.json`, checked once at boot."""

import json

from firstboot.errors import SettingsError

PATH = "/settings.json"

# section.key: (type, default, smallest number or shortest text). A default of None: required.
_KNOWN = {
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


def load(path=PATH):
    """Read and check the settings.

    Returns a dict with a value for every known `section.key`. Raises SettingsError with the key
    and what is allowed; never shows a value, since it may be a secret.
    """
    try:
        with open(path) as file:
            text = file.read()
    except OSError:
        raise SettingsError("%s is missing: flash the board, or copy one onto it" % path)
    try:
        sections = json.loads(text)
    except ValueError:
        raise SettingsError("%s is not JSON" % path)
    return check(sections)


def check(sections):
    """Flatten `{"section": {"key": value}}` and check it against the known keys."""
    settings = {name: known[1] for name, known in _KNOWN.items()}
    if not isinstance(sections, dict):
        raise SettingsError("the settings have to be an object of sections")
    for section, values in sections.items():
        if not isinstance(values, dict):
            raise SettingsError("settings section %s has to be an object" % section)
        for key, value in values.items():
            name = "%s.%s" % (section, key)
            if name not in _KNOWN:
                raise SettingsError("unknown setting %s" % name)
            kind, _, least = _KNOWN[name]
            # bool is an int to isinstance, and never meant as one here
            if not isinstance(value, kind) or isinstance(value, bool):
                raise SettingsError("%s has to be %s" % (name, "text" if kind is str else "a whole number"))
            if (len(value) if kind is str else value) < least:
                raise SettingsError("%s is empty or too small" % name)
            settings[name] = value
    for name, value in settings.items():
        if value is None:
            raise SettingsError("%s is missing" % name)
    if settings["provision.made_by"] not in ("device", "server"):
        raise SettingsError('provision.made_by has to be "device" or "server"')
    if settings["server.port"] > 65535 or settings["session.keepalive_s"] > 65535:
        raise SettingsError("server.port and session.keepalive_s go up to 65535")
    return settings
