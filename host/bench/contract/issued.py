"""Credentials that a server issues: an MQTT user with a password, and an API key. Both secrets are 256 random bits."""

import secrets
from dataclasses import dataclass, field

_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class IssuedCredentials:
    """An MQTT user name with its password, and an API key."""

    mqtt_username: str
    mqtt_password: str = field(repr=False)
    api_key: str = field(repr=False)

    @classmethod
    def random(cls, mqtt_username: str) -> "IssuedCredentials":
        """Return new secrets for this user name."""
        password = secrets.token_urlsafe(_BYTES)
        while password.startswith("-"):  # commands would take it for an option, and spreadsheets for a formula
            password = secrets.token_urlsafe(_BYTES)
        return cls(mqtt_username=mqtt_username, mqtt_password=password, api_key=secrets.token_hex(_BYTES))


def username(device_type: str, device_name: str) -> str:
    """Return the MQTT user name of a device, as Django DeviceHub forms it."""
    return f"{device_type}-{device_name}"
