"""Requests with an API key, in the place of a token."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from bench.registry import api_keys, users
from bench.registry.api_keys import ShownKey
from bench.registry.model import ApiKey, User
from bench.registry.roles import Role
from bench.server.http.operator.errors import Unauthorized

DISABLED = "User account is not active"
_KEY_DISABLED, _KEY_EXPIRED = "API key auth is not active", "API key is expired"
_SHOWN_ID = 8  # hexadecimal digits of a key's id, by which people tell keys of one name apart


@dataclass(frozen=True)
class KeyClaims:
    """An API key that was found to be right, and what its row says."""

    shown: ShownKey
    role: Role
    name: str
    """As the audit trail has it."""

    @classmethod
    def of(cls, shown: ShownKey, key: ApiKey) -> "KeyClaims":
        """Return a key that was shown, with its row."""
        return cls(shown, Role(key.role), f"{key.description} ({key.id.hex[:_SHOWN_ID]})")


class KeyUnusable(Unauthorized):
    """An API key is right, but disabled or expired, or its account is disabled."""

    def __init__(self, why: str, user: User, claims: KeyClaims) -> None:
        super().__init__(why, genuine=True)
        self.user = user
        self.claims = claims


def login(session: Session, shown: ShownKey) -> tuple[User, KeyClaims] | None:
    """Return the account of a key that is shown, and what the key may do; None if there is no such key.

    Raises:
        KeyUnusable: There is one, which must not be used now.
    """
    key = api_keys.find(session, shown)
    if key is None:
        return None
    claims = KeyClaims.of(shown, key)
    try:
        return user_of(session, key), claims
    except Unauthorized as error:
        raise KeyUnusable(str(error), users.get(session, key.user_id), claims) from None


def owner(session: Session, shown: ShownKey) -> User:
    """Return the account of a key that was right when its request began. Raises Unauthorized if it is not any more."""
    key = api_keys.find(session, shown)
    if key is None:
        raise Unauthorized(genuine=True)
    return user_of(session, key)


def user_of(session: Session, key: ApiKey) -> User:
    """Return the account of a key that exists. Raises Unauthorized if the key must not be used now."""
    if not key.enabled:
        raise Unauthorized(_KEY_DISABLED, genuine=True)
    if api_keys.is_expired(key):
        raise Unauthorized(_KEY_EXPIRED, genuine=True)
    user = users.get(session, key.user_id)
    if not user.enabled:
        raise Unauthorized(DISABLED, genuine=True)
    return user
