"""Proofs that the device knows a secret, without sending it."""

import binascii
import hashlib

from micropython import const

_BLOCK = const(64)  # SHA-256's, bytes

# What a proof covers after the nonce, in this order; what a request leaves out counts as empty.
_COVERED = ("deviceName", "credentialsType", "token", "clientId", "username", "password", "hash")
_DEFAULT_TYPE = "ACCESS_TOKEN"


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the HMAC with SHA-256 (RFC 2104), 32 bytes."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    key = key + bytes(_BLOCK - len(key))
    for pad in (0x36, 0x5C):
        digest = hashlib.sha256(bytes([byte ^ pad for byte in key]))
        digest.update(message)
        message = digest.digest()
    return message


def token(secret: str, name: str) -> dict[str, str]:
    """Return the credential whose access token, in base64url, follows from the device's own provisioning secret."""
    code = hmac_sha256(secret.encode(), name.encode())
    text = binascii.b2a_base64(code).decode().strip("=\n").replace("+", "-").replace("/", "_")
    return {"type": "ACCESS_TOKEN", "token": text}


def make(secret: str, nonce: str, request: dict[str, str]) -> str:
    """Return the proof that a provisioning request is this device's own.

    Args:
        secret: the device's own provisioning secret.
        nonce: the one that the server gave for this request.
        request: the fields of the request.

    Returns:
        64 lower-case hex digits.
    """
    fields = [request.get(name, "") for name in _COVERED]
    fields[1] = fields[1] or _DEFAULT_TYPE
    message = "\n".join([nonce] + fields)
    return binascii.hexlify(hmac_sha256(secret.encode(), message.encode())).decode()
