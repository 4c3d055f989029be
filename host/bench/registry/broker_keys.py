"""Keys of message brokers: with one a broker asks whether a device may log in, and what it may do.

A key is 256 random bits, so a keyed digest is all that it takes to store it: there is nothing to guess.
"""

import hmac
import re
import secrets
from collections.abc import Sequence

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused
from bench.registry.encryption import SecretBox
from bench.registry.model import BrokerKey
from bench.registry.statements import Lookup

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY_BYTES = 32
MOST = 100
"""Brokers that may have a key."""
_FOUND = Lookup(select(BrokerKey.name, BrokerKey.proof), BrokerKey.name)


def issue(session: Session, name: str) -> tuple[str, bool]:
    """Give a broker a new key: one that it had before is worth nothing then.

    Args:
        session: In a transaction that may write.
        name: The broker's name.

    Returns:
        The key, which nobody can read again, and whether it replaces another.

    Raises:
        Refused: Not a name, or there are too many brokers.
    """
    if not _NAME.fullmatch(name):
        raise Refused("a broker's name has 1 to 64 letters, digits, _ and -")
    key = secrets.token_urlsafe(_KEY_BYTES)
    proof = _proof(session.info["secret_box"], name, key)
    stored = session.get(BrokerKey, name)
    if stored is None:
        if len(names(session)) >= MOST:
            raise Refused(f"{MOST} brokers have a key: revoke one with bench broker revoke")
        session.add(BrokerKey(name=name, proof=proof))
    else:
        stored.proof = proof
    return key, stored is not None


def revoke(session: Session, name: str) -> None:
    """Take a broker's key away. Raises NotFound."""
    stored = session.get(BrokerKey, name)
    if stored is None:
        raise NotFound(f"no broker {name} has a key: see bench broker list")
    session.delete(stored)


def names(session: Session) -> Sequence[BrokerKey]:
    """Return the brokers that have a key, by name."""
    return session.scalars(select(BrokerKey).order_by(BrokerKey.name)).all()


def check(secret_box: SecretBox, connection: Connection, shown: Sequence[tuple[str, str]]) -> list[bool]:
    """Return whether names and keys are a broker's (a batch function)."""
    stored = {row.name: row.proof for row in _FOUND(connection, (name for name, _ in shown))}
    # as long for a name that has none
    return [hmac.compare_digest(_proof(secret_box, name, key), stored.get(name, "")) for name, key in shown]


def _proof(secret_box: SecretBox, name: str, key: str) -> str:
    return secret_box.digest("broker_key", name, key)
