"""Claiming: a device offers itself with a secret, and a customer who knows the secret gets it."""

import hmac
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from bench.registry import lifecycle
from bench.registry.clock import now_ms
from bench.registry.encryption import SecretBox
from bench.registry.model import ClaimOffer, Customer, Device

# How long an offer is open by default. (ThingsBoard has a switch that makes the attribute
# `claimingAllowed` a condition; it is off there by default, and not here.)
DURATION_MS = 86_400_000


class ClaimResult(StrEnum):
    """The server's answer to a customer's claim, as ThingsBoard names it."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CLAIMED = "CLAIMED"


@dataclass(frozen=True)
class OfferResult:
    """The result of an offer, with the reason of a refusal: for the journal only, the device gets no answer."""

    accepted: bool
    reason: str = ""


def offer(session: Session, device_id: uuid.UUID, secret: str, duration_ms: int | None) -> OfferResult:
    """Store a device's offer to be claimed. The first offer counts until it expires or is used.

    Args:
        session: In a transaction that may write.
        device_id: The device that offers itself.
        secret: What a customer has to know; stored as a digest.
        duration_ms: How long the offer is open, in milliseconds; None, zero or less is a day.
    """
    secret_box: SecretBox = session.info["secret_box"]
    device = session.get(Device, device_id)
    if device is None:
        return OfferResult(False, "deleted")
    if device.customer_id is not None:
        return OfferResult(False, "claimed already")
    now = now_ms()
    known = session.get(ClaimOffer, device_id)
    if known is not None and known.expires_ms > now:
        return OfferResult(False, "an earlier word counts still")
    # A time beyond all times is one that no column holds.
    duration = min(duration_ms if duration_ms and duration_ms > 0 else DURATION_MS, 1 << 52)
    session.merge(
        ClaimOffer(device_id=device_id, secret_digest=secret_box.digest("claim", secret), expires_ms=now + duration)
    )
    return OfferResult(True)


def claim(session: Session, device: Device, customer: Customer, secret: str) -> ClaimResult:
    """Hand a device to a customer who knows the secret of its offer. A wrong secret uses up the offer.

    Args:
        session: In a transaction that may write.
        device: The device that is claimed.
        customer: Who claims it.
        secret: What the customer knows.

    Returns:
        CLAIMED if somebody has the device already, FAILURE if there is no such offer, it has expired or the secret is
        wrong.
    """
    secret_box: SecretBox = session.info["secret_box"]
    if device.customer_id is not None:
        return ClaimResult.CLAIMED
    known = session.get(ClaimOffer, device.id, with_for_update=True)  # of two that know the secret, one uses it up
    if known is None or device.decommissioned_ms is not None:
        return ClaimResult.FAILURE
    session.delete(known)
    right = hmac.compare_digest(known.secret_digest, secret_box.digest("claim", secret))
    if not right or known.expires_ms <= now_ms():
        return ClaimResult.FAILURE
    device.customer_id = customer.id
    lifecycle.associated(device)
    return ClaimResult.SUCCESS
