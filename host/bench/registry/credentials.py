"""What a device logs in with: how it is stored, and what a login has to show.

`id` is what a login looks up, unique over all devices and types; `value` is the rest of it, or None
where the id is all there is.
"""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PEM = re.compile(r"-----(BEGIN|END) CERTIFICATE-----|[\r\n]")


class CredentialsType(StrEnum):
    """ThingsBoard's kinds. A request may name any of them; LWM2M_CREDENTIALS cannot be satisfied."""

    ACCESS_TOKEN = "ACCESS_TOKEN"  # noqa: S105 - a name, no password
    X509_CERTIFICATE = "X509_CERTIFICATE"
    MQTT_BASIC = "MQTT_BASIC"
    LWM2M_CREDENTIALS = "LWM2M_CREDENTIALS"


class InvalidCredentials(ValueError):
    """Credentials that no device may have. The message names the rule, never a value."""


@dataclass(frozen=True)
class DeviceCredentials:
    """Credentials as they are stored."""

    type: CredentialsType
    id: str = field(repr=False)
    value: str | None = field(default=None, repr=False)

    @property
    def answer(self) -> str:
        """What a device is told: the token itself, or the value."""
        return self.id if self.value is None else self.value


@dataclass(frozen=True, kw_only=True)
class Login:
    """What an MQTT CONNECT shows. An empty text means: not given."""

    client_id: str = ""
    username: str = field(default="", repr=False)
    password: str | None = field(default=None, repr=False)


def sha3(*parts: str) -> str:
    """SHA3-256 of the parts that are not empty, joined by `|`, as lower-case hex (FIPS 202)."""
    return hashlib.sha3_256("|".join(part for part in parts if part).encode()).hexdigest()


def trim_certificate(text: str) -> str:
    """A certificate's text without its PEM header, footer and line ends; spaces stay."""
    return _PEM.sub("", text)


def access_token(token: str) -> DeviceCredentials:
    """An access token: any text without control characters."""
    return DeviceCredentials(CredentialsType.ACCESS_TOKEN, _checked(token))


def mqtt_basic(client_id: str, username: str, password: str) -> DeviceCredentials:
    """MQTT client id, user name and password; at least one of the first two."""
    if not client_id and not username:
        raise InvalidCredentials("both MQTT client id and user name are empty")
    if password and not username:
        raise InvalidCredentials("a password cannot be specified along with a client id alone")
    for part in (client_id, username, password):
        if _CONTROL.search(part):
            raise InvalidCredentials("control characters")
    credentials_id = sha3(client_id, username) if client_id else username
    value = {"clientId": client_id, "userName": username, "password": password}
    return DeviceCredentials(
        CredentialsType.MQTT_BASIC, credentials_id, json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )


def x509(text: str) -> DeviceCredentials:
    """A certificate's text, which nobody checks: it is compared with what a TLS client shows."""
    trimmed = trim_certificate(text)
    return DeviceCredentials(CredentialsType.X509_CERTIFICATE, sha3(trimmed), trimmed)


def candidates(login: Login) -> list[str]:
    """The ids that a login may be meant for, in the order in which they are tried."""
    if not login.username:
        return [sha3(login.client_id)] if login.client_id else []
    return [sha3(login.client_id, login.username), login.username]


def accepts(stored: DeviceCredentials, login: Login) -> bool:
    """Whether stored credentials, found by one of the candidates, accept the login.

    An access token is the user name and nothing else. Of MQTT basic credentials every stored part
    has to be equal; where no password is stored, any is accepted.
    """
    if stored.type is CredentialsType.ACCESS_TOKEN:
        return login.username == stored.id
    if stored.type is not CredentialsType.MQTT_BASIC:
        return False
    wanted = json.loads(stored.value or "{}")
    return (
        wanted["clientId"] in ("", login.client_id)
        and wanted["userName"] in ("", login.username)
        and (not wanted["password"] or _equal(wanted["password"], login.password or ""))
    )


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _checked(credentials_id: str) -> str:
    if not credentials_id:
        raise InvalidCredentials("device credentials id should be specified")
    if _CONTROL.search(credentials_id):
        raise InvalidCredentials("control characters")
    return credentials_id
