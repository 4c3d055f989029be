"""Association codes: a customer's user types one in, and the device is the customer's.

A code is used once, expires, and is stored only as digests: one finds it, the other binds it to its device.
"""

import hmac
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete
from sqlalchemy.orm import Session

from bench.contract import association_codes
from bench.errors import Refused
from bench.registry import lifecycle
from bench.registry.clock import now_ms
from bench.registry.encryption import SecretBox
from bench.registry.model import AssociationCode, Customer, Device
from bench.registry.statements import Insertion

DURATION_MS = 365 * 86_400_000
"""How long a code is valid by default: a device may be a year on its way to whoever buys it."""
LONGEST_MS = 10 * DURATION_MS
_ADD = Insertion(AssociationCode, "device_id", "lookup", "proof", "expires_ms")


class InvalidCode(Refused):
    """A code that is wrong, used, or expired: nobody learns which."""

    def __init__(self) -> None:
        super().__init__("Association code is wrong, used or expired!")


def make(session: Session, device: Device, duration_ms: int = DURATION_MS) -> tuple[str, int]:
    """Make a new code for a device, in place of one that it may have. It cannot be read again.

    Args:
        session: In a transaction that may write.
        device: The device.
        duration_ms: How long it is valid, in milliseconds.

    Returns:
        The code, and the time at which it expires, in milliseconds since the epoch.

    Raises:
        Refused: The device was decommissioned.
    """
    lifecycle.check_not_decommissioned(device)
    code = association_codes.random()
    made = row(session.info["secret_box"], device.id, code, duration_ms)
    session.merge(AssociationCode(**made))
    session.flush()
    return code, made["expires_ms"]


def row(secret_box: SecretBox, device_id: uuid.UUID, code: str, duration_ms: int = DURATION_MS) -> dict[str, Any]:
    """Return the row of a device's code."""
    typed = association_codes.typed(code)
    return {
        "device_id": device_id,
        "lookup": _digest(secret_box, typed),
        "proof": _proof(secret_box, device_id, typed),
        "expires_ms": now_ms() + duration_ms,
    }


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Store codes of devices that have none yet. Raises IntegrityError."""
    _ADD(connection, rows)


def use(session: Session, text: str, customer: Customer) -> Device:
    """Hand the device of a code to a customer, and return it. Of several that use a code at once, one has it.

    Args:
        session: In a transaction that may write.
        text: The code as somebody typed it: in any case, with or without hyphens, with letters for digits.
        customer: Who gets the device.

    Raises:
        InvalidCode: There is no such code.
        Refused: The device is another customer's, or was decommissioned; the code stays.
    """
    secret_box: SecretBox = session.info["secret_box"]
    code = association_codes.typed(text)
    # deleted first: whoever deletes it has it
    used = delete(AssociationCode).where(AssociationCode.lookup == _digest(secret_box, code)).returning(AssociationCode)
    found = session.scalar(used.execution_options(synchronize_session=False))
    device = session.get(Device, found.device_id) if found is not None else None
    if found is None or device is None or found.expires_ms <= now_ms():
        raise InvalidCode
    if not hmac.compare_digest(found.proof, _proof(secret_box, device.id, code)):
        raise InvalidCode
    lifecycle.check_not_decommissioned(device)
    if device.customer_id not in (None, customer.id):
        raise Refused("Device has an owner already, who has to give it back first!")
    device.customer_id = customer.id
    lifecycle.associated(device)
    session.flush()
    return device


def _digest(secret_box: SecretBox, code: str) -> str:
    return secret_box.digest("association code", code)


def _proof(secret_box: SecretBox, device_id: uuid.UUID, code: str) -> str:
    return secret_box.digest("association code", str(device_id), code)
