"""The credential kinds: how one is made, asked for, and used to log in.

A credential is a plain dict, `{"type": "ACCESS_TOKEN", "token": ...}`, because it lives in the vault.
"""

import binascii
import os

from firstboot.errors import ProtocolError

# 128 bits. Hex, because a token is also a path segment over HTTP.
_TOKEN_BYTES = 16
# The longest token we take from a server: the vault has to hold it, beside one of ours.
_TOKEN_LIMIT = 512


def make() -> dict[str, str]:
    """A new secret from the random source.

    On the ESP32 the hardware generator is only a true one while the radio is on: call with the link up.
    """
    return {"type": "ACCESS_TOKEN", "token": binascii.hexlify(os.urandom(_TOKEN_BYTES)).decode()}


def request_fields(credential: dict[str, str]) -> dict[str, str]:
    """What the provisioning request says to ask for this very credential."""
    return {"credentialsType": credential["type"], "token": credential["token"]}


def from_answer(answer: dict[str, object]) -> dict[str, str]:
    """The credential in a SUCCESS answer; raises ProtocolError if there is none we can use."""
    kind = answer.get("credentialsType")
    value = answer.get("credentialsValue")
    if kind != "ACCESS_TOKEN":
        raise ProtocolError("the server gave credentials of another type than ACCESS_TOKEN")
    if not isinstance(value, str) or not 1 <= len(value) <= _TOKEN_LIMIT:
        raise ProtocolError("the answer has no credentialsValue that we can use")
    return {"type": "ACCESS_TOKEN", "token": value}


def login(credential: dict[str, str]) -> tuple[str, str]:
    """`(user name, password)` for MQTT."""
    return credential["token"], ""
