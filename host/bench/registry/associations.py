"""Association codes: a customer's user types one in, and the device is the customer's.

A code is used once, expires, and is stored only as digests: one finds it, the other binds it to its device.
"""

import hmac
import re
import secrets

from sqlalchemy import delete
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import lifecycle
from bench.registry.clock import now_ms
from bench.registry.encryption import SecretBox
from bench.registry.model import AssociationCode, Customer, Device

DURATION_MS = 365 * 86_400_000
"""How long a code is valid by default: a device may be a year on its way to whoever buys it."""
LONGEST_MS = 10 * DURATION_MS
# Crockford's base 32: no letter that is read as a digit, and no word. Twelve are 60 bits, and guesses are counted.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH, _GROUP = 12, 4
_READ_AS = str.maketrans("OIL", "011")
_SEPARATORS = re.compile(r"[\s-]")


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
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    secret_box: SecretBox = session.info["secret_box"]
    expires_ms = now_ms() + duration_ms
    session.merge(
        AssociationCode(
            device_id=device.id,
            lookup=_digest(secret_box, code),
            proof=_proof(secret_box, device, code),
            expires_ms=expires_ms,
        )
    )
    session.flush()
    return "-".join(code[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP)), expires_ms


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
    code = _SEPARATORS.sub("", text).upper().translate(_READ_AS)
    # deleted first: whoever deletes it has it
    used = delete(AssociationCode).where(AssociationCode.lookup == _digest(secret_box, code)).returning(AssociationCode)
    found = session.scalar(used.execution_options(synchronize_session=False))
    device = session.get(Device, found.device_id) if found is not None else None
    if found is None or device is None or found.expires_ms <= now_ms():
        raise InvalidCode
    if not hmac.compare_digest(found.proof, _proof(secret_box, device, code)):
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


def _proof(secret_box: SecretBox, device: Device, code: str) -> str:
    return secret_box.digest("association code", str(device.id), code)
