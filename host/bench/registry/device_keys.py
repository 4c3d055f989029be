"""API keys: a device shows its own over HTTP, in the place of an access token. Only digests of it are stored.

One digest finds the key, the other binds it to its device: moved to another one's row, it is worth nothing.
"""

import hmac
import re
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from bench.registry.encryption import SecretBox
from bench.registry.model import DeviceKey
from bench.registry.statements import Insertion

_ADD = Insertion(DeviceKey, "device_id", "lookup", "proof")
_FORM = re.compile(r"[0-9a-f]{64}")


def is_formed(text: str) -> bool:
    """Return whether a text may be an API key: 32 bytes as lower-case hex."""
    return _FORM.fullmatch(text) is not None


def digest(secret_box: SecretBox, key: str) -> str:
    """Return what an API key is found by."""
    return secret_box.digest("device key", key)


def row(secret_box: SecretBox, device_id: uuid.UUID, key: str) -> dict[str, Any]:
    """Return the row of a device's API key."""
    return {"device_id": device_id, "lookup": digest(secret_box, key), "proof": _proof(secret_box, device_id, key)}


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Store API keys of devices that have none yet. Raises IntegrityError."""
    _ADD(connection, rows)


def replace(session: Session, device_id: uuid.UUID, key: str) -> None:
    """Give a device an API key, in place of the one that it may have."""
    session.merge(DeviceKey(**row(session.info["secret_box"], device_id, key)))
    session.flush()


def is_its(session: Session, device_id: uuid.UUID, key: str) -> bool:
    """Return whether this is a device's API key."""
    found = session.get(DeviceKey, device_id)
    return found is not None and is_genuine(session.info["secret_box"], device_id, found.proof, key)


def is_genuine(secret_box: SecretBox, device_id: uuid.UUID, proof: str, key: str) -> bool:
    """Return whether a row's proof is that of this key and this device."""
    return hmac.compare_digest(proof, _proof(secret_box, device_id, key))


def _proof(secret_box: SecretBox, device_id: uuid.UUID, key: str) -> str:
    return secret_box.digest("device key", str(device_id), key)
