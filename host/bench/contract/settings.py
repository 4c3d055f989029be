"""Checks of settings, and the one builder of the `settings.json` that a board gets.

The firmware checks its settings itself at each boot. The host checks them before it writes them, so that a typo costs
no flashing. Both refuse the same.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bench.contract import forms
from bench.contract.credentials import BoardCredentialsType
from bench.contract.settings_schema import SETTINGS, WATCHDOG_LEAST_S, SettingSpec
from bench.errors import UsageError
from bench.text import printable

FILE = "settings.json"
"""Name of the file on a board."""

Sections = Mapping[str, Mapping[str, Any]]
"""Values by section and key, as in the file: `{"wifi": {"ssid": "Hall 3"}}`."""

VIRTUAL_WIFI = {"ssid": "bench", "password": "the air is loopback"}
"""The one access point that virtual boards see."""


def check(sections: Sections, *, where: str = "settings") -> None:
    """Raise unless each of these settings exists and may have its value. Missing settings are allowed.

    Args:
        sections: Settings by section and key.
        where: The place of the sections in what a person wrote, for messages.

    Raises:
        UsageError: The first mistake. The message has its place, and the cure or the nearest name; never a value.
    """
    for section, entries in sections.items():
        if not isinstance(entries, Mapping):
            raise UsageError(f"{where}.{printable(section)} must be a section")
        for key, value in entries.items():
            name = f"{section}.{key}"
            if name not in SETTINGS:
                raise UsageError(
                    f"{where}.{printable(section)} has no {printable(key)}; {_cure(section, key, shown=f'{section}.')}"
                )
            if problem := SETTINGS[name].problem(value):
                raise UsageError(f"{where}.{name} {problem}")


def parse(name: str, text: str) -> Any:
    """Return the value that a person typed for a setting: a text as it is, all else as JSON.

    Args:
        name: The setting, as `section.key`.
        text: The value as it was typed.

    Raises:
        UsageError: There is no such setting (the message has the nearest name), or it may not have this value.
    """
    spec = require(name)
    value: Any = text
    if spec.kind is not str:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
    if problem := spec.problem(value) or forms.problem(name, value):
        raise UsageError(f"{name} {problem}")
    return value


def secrets(sections: Sections) -> list[str]:
    """Return the names of settings that are given and hold a secret. Any sections do, checked or not."""
    return [
        name
        for name, spec in SETTINGS.items()
        if spec.is_secret and _holds_text(dict(sections.get(name.partition(".")[0]) or {}).get(name.partition(".")[2]))
    ]


def _holds_text(value: Any) -> bool:
    """Return whether a secret setting has one in it: of networks, those without a password have none."""
    if isinstance(value, list):
        return any(not isinstance(each, Mapping) or bool(each.get("password")) for each in value)
    return bool(value)


def require(name: str) -> SettingSpec:
    """Return the schema of a setting.

    Args:
        name: The setting, as `section.key`.

    Raises:
        UsageError: There is no such setting. The message has the nearest name.
    """
    if name not in SETTINGS:
        section, _, key = name.rpartition(".")
        raise UsageError(f"there is no setting {printable(name)}; {_cure(section, key)}")
    return SETTINGS[name]


def merge(*layers: Sections) -> dict[str, dict[str, Any]]:
    """Return the settings of all layers; where several have the same one, the last layer's."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, entries in layer.items():
            merged.setdefault(section, {}).update(entries)
    return merged


def encode(*layers: Sections, host: str, port: int, key: str, secret: str) -> bytes:
    """Return the `settings.json` of a board.

    Args:
        *layers: Settings that override those of the other arguments and the virtual boards' Wi-Fi, the last on top.
        host: Name or IPv4 address of the server.
        port: Its MQTT port; 0: the default.
        key: Provisioning key of the board's profile.
        secret: The secret that the board has to show.

    Returns:
        The file's bytes. They hold secrets: whatever they are written to has to be private.

    Raises:
        UsageError: The firmware would refuse them. A test of that refusal has to write the bytes itself.
    """
    for layer in layers:
        check(layer)
    own: Sections = {
        "server": {"host": host, "port": port},
        "provision": {"key": key, "secret": secret},
        "wifi": VIRTUAL_WIFI,
    }
    sections = merge(own, *layers)
    check(sections)
    check_forms(sections)
    check_together(sections)
    return to_json(sections)


def to_json(sections: Sections) -> bytes:
    """Return settings as the file has them, unchecked: for those read from a board with firmware of any version."""
    return json.dumps(sections, indent=1, ensure_ascii=False).encode()


def check_forms(sections: Sections, *, where: str = "settings") -> None:
    """Raise for a host, an address or a name that no board could use.

    Args:
        sections: Settings by section and key, checked by `check`.
        where: Begins the message.

    Raises:
        UsageError: A value has another form. The message has the cure.
    """
    for section, entries in sections.items():
        for key, value in entries.items():
            if problem := forms.problem(f"{section}.{key}", value):
                raise UsageError(f"{where}.{section}.{key} {problem}")


def check_together(sections: Sections) -> None:
    """Raise for settings that are valid by themselves, and do not fit each other. The firmware has the same rules.

    Args:
        sections: Settings by section and key, checked by `check`. Missing ones have their defaults.

    Raises:
        UsageError: A required setting is missing, or two do not fit each other. The message has the cure.
    """

    def value(name: str) -> Any:
        section, _, key = name.partition(".")
        return sections.get(section, {}).get(key, SETTINGS[name].default)

    for name, spec in SETTINGS.items():
        if spec.default is None and value(name) is None:
            raise UsageError(f"settings.{name} is missing")
    if 0 < value("board.watchdog_s") < WATCHDOG_LEAST_S:
        raise UsageError(f"settings.board.watchdog_s must be 0 (off), or {WATCHDOG_LEAST_S} and more")
    certificate = value("provision.credentials") == BoardCredentialsType.X509_CERTIFICATE
    if certificate and not value("server.tls"):
        raise UsageError("settings.provision.credentials: a certificate logs in over TLS only: set settings.server.tls")
    if value("provision.made_by") == "claim" and value("provision.credentials") != "ACCESS_TOKEN":
        raise UsageError('settings.provision.made_by: "claim" is for ACCESS_TOKEN')
    if value("provision.made_by") != "flash" and not (value("provision.key") and value("provision.secret")):
        raise UsageError("settings.provision.key or settings.provision.secret is missing")


def _cure(section: str, key: str, *, shown: str = "") -> str:
    """Return the nearest name as a question, without the part that the message shows already; or else all names."""
    keys = [name.partition(".")[2] for name in SETTINGS if name.startswith(f"{section}.")]
    if nearest := next(_nearest(section, key, keys), ""):
        return f"did you mean {nearest.removeprefix(shown)}?"
    if keys:
        return f"it has {', '.join(keys)}"
    return f"the sections are {', '.join(dict.fromkeys(name.partition('.')[0] for name in SETTINGS))}"


def _nearest(section: str, key: str, keys: list[str]) -> Iterator[str]:
    """Yield names that may be meant: of this section, then of other ones."""
    yield from (f"{section}.{each}" for each in difflib.get_close_matches(key, keys, 1))
    same_key = [name for name in SETTINGS if name.endswith(f".{key}")]
    yield from difflib.get_close_matches(f"{section}.{key}", same_key, 1, cutoff=0)
    if not keys:
        yield from difflib.get_close_matches(f"{section}.{key}", SETTINGS, 1)
