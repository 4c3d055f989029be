"""Claim secrets and proofs of them, which a board may show instead of its profile's secret.

A profile's secret opens the whole profile. The claim secret that follows from it opens one name, so that a board that
is taken apart gives away nothing but itself. A board that proves its claim secret does not even send it
(docs/credentials.md). ThingsBoard knows neither.
"""

import base64
import hmac
from collections.abc import Iterable

from bench.contract.names import trimmed

COVERED = ("deviceName", "credentialsType", "token", "clientId", "username", "password", "hash")
"""Fields of a provisioning request that a proof covers after the nonce, in this order; absent ones count as empty."""


def claim_secret(profile_secret: str, device_name: str) -> str:
    """Return the claim secret of a device.

    Args:
        profile_secret: The provisioning secret of its profile.
        device_name: Its name; it is trimmed as the server does.

    Returns:
        The HMAC-SHA256 (RFC 2104) of the name under the profile's secret, in lower-case hex.
    """
    return _hmac(profile_secret, trimmed(device_name))


def derived_token(secret: str, device_name: str) -> str:
    """Return the access token that follows from a device's claim secret.

    Args:
        secret: The claim secret.
        device_name: Its name, e.g. a UUID; it is trimmed as the server does.

    Returns:
        The HMAC-SHA256 (RFC 2104) of the name under the claim secret, in base64url without padding (RFC 4648, section
        5): 43 characters, as a token is also a part of a path over HTTP.
    """
    digest = hmac.digest(secret.encode(), trimmed(device_name).encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def proof(secret: str, covered: Iterable[str]) -> str:
    """Return the proof that a board knows its claim secret.

    Args:
        secret: The claim secret.
        covered: The server's nonce, then the values of the fields in `COVERED`, in their order. Line feeds separate
            them, so that only the last may contain any: otherwise two lists would have one proof.

    Returns:
        The HMAC-SHA256 (RFC 2104) of these under the secret, in lower-case hex.
    """
    return _hmac(secret, "\n".join(covered))


def _hmac(key: str, message: str) -> str:
    return hmac.new(key.encode(), message.encode(), "sha256").hexdigest()  # `hmac.digest` lets go of Python's lock
