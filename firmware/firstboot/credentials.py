"""The kinds of credentials: making one, requesting one, logging in with one.

A credential is a plain dict of texts, because it lives in the vault:
`{"type": "ACCESS_TOKEN", "token"}`, `{"type": "MQTT_BASIC", "clientId", "userName", "password"}`,
`{"type": "X509_CERTIFICATE", "certificate", "key"}`, the last two as base64 of DER; with `chain`, those of the
certificates above it, if there are some.
"""

import binascii
import json
import os

from micropython import const

from firstboot.errors import ProtocolError

# 128 bits. Hex, because a token is also a path segment over HTTP.
_SECRET_BYTES = const(16)
# The longest text accepted from a server: the vault has to hold it, beside one of ours.
_LIMIT = const(512)


def make(kind: str, name: str) -> dict[str, str]:
    """Return a new credential from the random source.

    On the ESP32 the hardware generator is only a true one while the radio is on: call with the link up.

    Args:
        kind: `ACCESS_TOKEN`, `MQTT_BASIC` or `X509_CERTIFICATE`.
        name: the device's name.
    """
    if kind == "X509_CERTIFICATE":
        return _make_certificate(name)
    secret = binascii.hexlify(os.urandom(_SECRET_BYTES)).decode()
    if kind == "MQTT_BASIC":
        return {"type": kind, "clientId": name, "userName": name, "password": secret}
    return {"type": kind, "token": secret}


def _make_certificate(name: str) -> dict[str, str]:
    import time

    from firstboot import board, events, p256, x509

    start = time.ticks_ms()
    key = p256.make_key()
    public = p256.public(key, board.idle)
    made = pair(x509.self_signed(name, key, public, board.idle), x509.private_key(key, public))
    events.emit("key_made", took_ms=time.ticks_diff(time.ticks_ms(), start))
    return made


def pair(certificate: bytes, key: bytes) -> dict[str, str]:
    """Return the credential of a certificate and its key, both DER."""
    return {"type": "X509_CERTIFICATE", "certificate": _base64(certificate), "key": _base64(key)}


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data).decode().strip()


def request_fields(credential: dict[str, str]) -> dict[str, str]:
    """Return the fields with which a provisioning request brings this credential (ThingsBoard's names)."""
    kind = credential["type"]
    fields = {"credentialsType": kind}
    if kind == "MQTT_BASIC":
        fields["clientId"] = credential["clientId"]
        fields["username"] = credential["userName"]
        fields["password"] = credential["password"]
    elif kind == "X509_CERTIFICATE":
        fields["hash"] = credential["certificate"]
    else:
        fields["token"] = credential["token"]
    return fields


def from_answer(answer: dict[str, object], held: list[dict[str, str]]) -> dict[str, str]:
    """Return the credential in a SUCCESS answer.

    Args:
        answer: the whole answer.
        held: the credentials whose secrets are in the vault: a certificate is usable only with its key.

    Raises:
        ProtocolError: if the answer has no usable credential.
    """
    kind = answer.get("credentialsType")
    value = answer.get("credentialsValue")
    if kind == "ACCESS_TOKEN":
        return _storable({"type": "ACCESS_TOKEN", "token": _text(value, 1)})
    if kind == "MQTT_BASIC" and isinstance(value, dict):
        parts = {key: _text(value.get(key) or "", 0) for key in ("clientId", "userName", "password")}
        if parts["clientId"] or parts["userName"]:
            parts["type"] = "MQTT_BASIC"
            return _storable(parts)
    if kind == "X509_CERTIFICATE":
        for credential in held:
            if credential["type"] == kind and credential["certificate"] == value:
                return credential
        raise ProtocolError("the server gave a certificate whose key is not on this board")
    raise ProtocolError("the answer has no credentials that we can use")


def _storable(credential: dict[str, str]) -> dict[str, str]:
    # characters that JSON escapes take up to twelve times their number
    if len(json.dumps(credential).encode()) > 4 * _LIMIT:
        raise ProtocolError("the answer has credentials that are too long for us")
    return credential


def _text(value: object, least: int) -> str:
    if not isinstance(value, str) or not least <= len(value) <= _LIMIT:
        raise ProtocolError("the answer has no credentialsValue that we can use")
    return value


def login(credential: dict[str, str], name: str) -> tuple[str, str, str, tuple[bytes, bytes] | None]:
    """Return `(client id, user name, password, certificate and key as DER or None)` for an MQTT login."""
    kind = credential["type"]
    if kind == "MQTT_BASIC":
        return credential["clientId"] or name, credential["userName"], credential["password"], None
    if kind == "X509_CERTIFICATE":
        chain = [binascii.a2b_base64(credential[part]) for part in ("certificate", "chain") if part in credential]
        return name, "", "", (b"".join(chain), binascii.a2b_base64(credential["key"]))
    return name, credential["token"], "", None
