"""Device credentials: how they are stored, and what a login has to show.

`id` is what a login looks up, unique over all devices and types; `value` is the rest, or None where the id is all
there is. The database holds digests of both, which is all that a login needs, and both encrypted, because
ThingsBoard's protocol gives them back: to operators, and to pre-provisioned devices. All of it is bound to the device:
in another one's row it is worth nothing.
"""

import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any

from bench.contract.credentials import CredentialsType
from bench.contract.releases import Release
from bench.errors import Refused
from bench.registry.encryption import SecretBox

_CONTROL, _NUL = re.compile(r"[\x00-\x1f\x7f]"), re.compile(r"\x00")
# The parts of MQTT basic credentials, by the letter that says that a part is stored.
_PARTS = {"c": "clientId", "u": "userName", "p": "password"}
_MQTT_BASIC = frozenset(_PARTS.values())
_LWM2M_MODES = ("NO_SEC", "PSK", "RPK", "X509")
_PEM = re.compile(r"-----(BEGIN|END) CERTIFICATE-----|[\r\n]")


class InvalidCredentials(ValueError):
    """Credentials that no device may have. The message names the rule, never a value."""


class RefusedCredentials(Refused):
    """Credentials that an operator cannot give a device."""


@dataclass(frozen=True)
class DeviceCredentials:
    """Credentials as they are stored."""

    type: CredentialsType
    id: str = field(repr=False)
    value: str | None = field(default=None, repr=False)

    @property
    def answer(self) -> str:
        """The text that a device is sent: the token itself, or the value."""
        return self.id if self.value is None else self.value

    def check(self, release: Release) -> None:
        """Raise InvalidCredentials if they hold characters that this release refuses. A certificate is not read."""
        if self.type is CredentialsType.X509_CERTIFICATE:
            return
        refused = _CONTROL if release.refuses_control_characters else _NUL
        parts = json.loads(self.value or "{}") if self.type is CredentialsType.MQTT_BASIC else {"id": self.id}
        if any(refused.search(each or "") for each in parts.values()):
            raise InvalidCredentials("Control characters are not allowed in credentials!")


@dataclass(frozen=True, kw_only=True)
class CredentialsRequest:
    """The credentials that a device asks for. An empty text means: not given."""

    credentials_type: CredentialsType = CredentialsType.ACCESS_TOKEN
    token: str = field(default="", repr=False)
    client_id: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    certificate: str = ""

    @property
    def has_material(self) -> bool:
        """True if any credential is given: without one ThingsBoard ignores the credentials type."""
        return any((self.token, self.certificate, self.username, self.password, self.client_id))

    def requested(self) -> DeviceCredentials | None:
        """Return the requested credentials, None if the device leaves them to the server.

        Raises:
            InvalidCredentials: They break a rule of their type, or the type is LWM2M_CREDENTIALS.
        """
        if not self.has_material:
            return None
        match self.credentials_type:
            case CredentialsType.ACCESS_TOKEN:
                return access_token(self.token)
            case CredentialsType.MQTT_BASIC:
                return mqtt_basic(self.client_id, self.username, self.password)
            case CredentialsType.X509_CERTIFICATE:
                return x509(self.certificate)
            case CredentialsType.LWM2M_CREDENTIALS:
                raise InvalidCredentials("a request has no field for LwM2M credentials")


@dataclass(frozen=True, kw_only=True)
class MqttLogin:
    """The credentials of an MQTT CONNECT. An empty text means: not given."""

    client_id: str = ""
    username: str = field(default="", repr=False)
    password: str | None = field(default=None, repr=False)


def sha3(*parts: str) -> str:
    """Return the SHA3-256 (FIPS 202) of the parts that are not empty, joined by `|`, as lower-case hex."""
    return hashlib.sha3_256("|".join(part for part in parts if part).encode()).hexdigest()


def trim_certificate(text: str) -> str:
    """Return a certificate's text without its PEM header, footer and line ends; spaces stay."""
    return _PEM.sub("", text)


def access_token(token: str) -> DeviceCredentials:
    """Return the credentials of an access token.

    Raises:
        InvalidCredentials: The token is empty.
    """
    return DeviceCredentials(CredentialsType.ACCESS_TOKEN, _checked(token))


def mqtt_basic(client_id: str | None, username: str | None, password: str | None) -> DeviceCredentials:
    """Return MQTT basic credentials. None and "" both mean: not given.

    Args:
        client_id: Needed without a user name.
        username: Needed without a client id, and with a password.
        password: Without one any password is accepted.

    Raises:
        InvalidCredentials: A part that is needed is missing.
    """
    if not client_id and not username:
        raise InvalidCredentials("Both mqtt client id and user name are empty!")
    if password and not username:
        raise InvalidCredentials("Password cannot be specified along with client id!")
    credentials_id = sha3(client_id, username or "") if client_id else username
    assert credentials_id
    value = {"clientId": client_id, "userName": username, "password": password}
    return DeviceCredentials(
        CredentialsType.MQTT_BASIC, credentials_id, json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )


def mqtt_basic_of(text: str) -> DeviceCredentials:
    """Return the MQTT basic credentials of an operator's JSON: of `clientId`, `userName` and `password`.

    Raises:
        InvalidCredentials: It is not such an object, or `mqtt_basic` refuses it.
    """
    parts = _object(text)
    if parts is None or not _MQTT_BASIC.issuperset(parts):
        raise InvalidCredentials("Invalid credentials body for simple mqtt credentials!")
    shown = {name: json.dumps(part) if isinstance(part, (bool, int, float)) else part for name, part in parts.items()}
    if any(isinstance(part, (dict, list)) for part in shown.values()):
        raise InvalidCredentials("Invalid credentials body for simple mqtt credentials!")
    return mqtt_basic(*(shown.get(name) for name in ("clientId", "userName", "password")))


def lwm2m(text: str) -> DeviceCredentials:
    """Return the credentials of an LwM2M client: they are kept for other servers, and log nobody in here.

    Raises:
        InvalidCredentials: It is not an object with a client and a bootstrap, or names no endpoint.
    """
    parts = _object(text) or {}
    client, bootstrap = parts.get("client"), parts.get("bootstrap")
    mode = client.get("securityConfigClientMode") if isinstance(client, dict) else None
    if not isinstance(client, dict) or mode not in _LWM2M_MODES or not isinstance(bootstrap, dict):
        raise InvalidCredentials("Invalid credentials body for LwM2M credentials!")
    endpoint, named = client.get("endpoint"), client.get("identity") if mode == "PSK" else client.get("endpoint")
    if not isinstance(endpoint, str) or not endpoint:
        raise InvalidCredentials("LwM2M client endpoint must be specified!")
    if not isinstance(named, str) or not named:
        raise InvalidCredentials("LwM2M client PSK identity must be specified!")
    if mode == "X509" and isinstance(certificate := client.get("cert"), str) and certificate:
        named = sha3(trim_certificate(certificate))
    return DeviceCredentials(CredentialsType.LWM2M_CREDENTIALS, _checked(named), text)


def _object(text: str) -> dict[str, Any] | None:
    """Return a JSON object whose text can be stored, or None."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is not text
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def x509(text: str) -> DeviceCredentials:
    """Return the credentials of a certificate: PEM, or its bare text.

    It is compared with what a TLS client shows, and not read.
    """
    trimmed = trim_certificate(text)
    return DeviceCredentials(CredentialsType.X509_CERTIFICATE, sha3(trimmed), trimmed)


def candidates(login: MqttLogin) -> list[str]:
    """Return the ids that a login may be meant for, in the order in which ThingsBoard tries them."""
    if not login.username:
        return [sha3(login.client_id)] if login.client_id else []
    return [sha3(login.client_id, login.username), login.username]


def row(secret_box: SecretBox, device_id: uuid.UUID, own: DeviceCredentials) -> dict[str, Any]:
    """Return the columns that store a device's credentials."""
    stored = json.loads(own.value or "{}") if own.type is CredentialsType.MQTT_BASIC else {}
    shown = {letter: stored.get(name) or "" for letter, name in _PARTS.items()}
    columns = {
        "device_id": device_id,
        "type": own.type.value,
        "lookup": secret_box.digest(own.id),
        "parts": "".join(letter for letter in _PARTS if shown[letter]),
        "sealed": secret_box.encrypt(json.dumps([own.id, own.value]), *_place(device_id, own.type.value)),
    }
    return columns | {"proof": _proof(secret_box, SimpleNamespace(**columns), shown)}


def _place(device_id: uuid.UUID, kind: str) -> tuple[object, ...]:
    return "credentials", device_id, kind


def _proof(secret_box: SecretBox, stored: Any, shown: Mapping[str, str]) -> str:
    """Return the digest of all that a login is accepted for: the row, and the parts that are stored in it."""
    parts = (shown.get(letter, "") if letter in stored.parts else "" for letter in _PARTS)
    return secret_box.digest(*map(str, _place(stored.device_id, stored.type)), stored.lookup, stored.parts, *parts)


def from_row(secret_box: SecretBox, stored: Any) -> DeviceCredentials:
    """Return the credentials of a row, decrypted. Raises WrongKey."""
    credentials_id, value = json.loads(secret_box.decrypt(stored.sealed, *_place(stored.device_id, stored.type)))
    return DeviceCredentials(CredentialsType(stored.type), credentials_id, value)


def accepts(secret_box: SecretBox, stored: Any, found_by: str, login: MqttLogin) -> bool:
    """Return whether stored credentials accept a login.

    An access token is the user name and nothing else. Of MQTT basic credentials every stored part has to be equal;
    where no password is stored, any is accepted.

    Args:
        secret_box: The registry's.
        stored: The row.
        found_by: The candidate (see `candidates`) that found the row.
        login: What the device shows.
    """
    if stored.type == CredentialsType.ACCESS_TOKEN:
        return found_by == login.username and is_genuine(secret_box, stored)
    if stored.type != CredentialsType.MQTT_BASIC:
        return False
    return is_genuine(secret_box, stored, {"c": login.client_id, "u": login.username, "p": login.password or ""})


def is_genuine(secret_box: SecretBox, stored: Any, shown: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Return whether a row, with these parts, is as the registry stored it: none of it is from another row."""
    return hmac.compare_digest(_proof(secret_box, stored, shown), stored.proof)


def _checked(credentials_id: str) -> str:
    if not credentials_id:
        raise InvalidCredentials("Device credentials id should be specified!")
    return credentials_id
