"""Proofs that the device knows a secret, without saying it."""

import binascii
import hashlib

_BLOCK = 64  # SHA-256's, bytes

# What a proof covers after the nonce, in this order; what a request leaves out counts as empty.
_COVERED = ("deviceName", "credentialsType", "token", "clientId", "username", "password", "hash")
_DEFAULT_TYPE = "ACCESS_TOKEN"


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC with SHA-256 (RFC 2104): 32 bytes."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    key = key + bytes(_BLOCK - len(key))
    for pad in (0x36, 0x5C):
        digest = hashlib.sha256(bytes([byte ^ pad for byte in key]))
        digest.update(message)
        message = digest.digest()
    return message


def proof(secret: str, nonce: str, request: dict[str, str]) -> str:
    """What proves to the server that gave `nonce` that this request is ours: 64 lower-case hex digits.

    `secret` is the text of the device's own provisioning secret; `request` the fields of a provisioning request.
    """
    fields = [request.get(name, "") for name in _COVERED]
    fields[1] = fields[1] or _DEFAULT_TYPE
    message = "\n".join([nonce] + fields)
    return binascii.hexlify(hmac_sha256(secret.encode(), message.encode())).decode()
