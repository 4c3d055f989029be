"""API keys: each lets a program act as one account, within a role and until a time.

A key is shown once, when it is made, and stored as a digest with the key beside the database (HMAC-SHA256). A fast
digest is right for it, where a password needs a slow one: a password is slow to check because people choose those that
can be guessed, so that each guess has to cost something. A key is 256 random bits. Nobody guesses those at any speed,
and whoever has the database alone cannot even try: the digest needs the file `secrets.key`. A slow hash would protect
nothing more, and cost its time with every request, as a key comes with each of them.

The digest is bound to the row: to its id, account, role and end. In another row, or with another role, it is wrong.
"""

import hmac
import re
import secrets
import uuid
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.errors import Refused, UnknownId
from bench.registry import names, pages
from bench.registry.clock import now_ms
from bench.registry.encryption import SecretBox
from bench.registry.model import ApiKey, User
from bench.registry.pages import PageQuery
from bench.registry.roles import Role

KEYS = 100
"""API keys of one account."""
SORTS = {
    "createdTime": ApiKey.created_ms,
    "description": ApiKey.description,
    "expirationTime": ApiKey.expires_ms,
    "enabled": ApiKey.enabled,
}
_BYTES = 32
_FORM = re.compile(r"fb_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class ShownKey:
    """The parts of a key as a program shows it."""

    id: uuid.UUID
    secret: str = field(repr=False)

    @classmethod
    def of(cls, text: str) -> "ShownKey | None":
        """Return the parts; None if a text is not a key."""
        found = _FORM.fullmatch(text)
        return cls(uuid.UUID(found[1]), found[2]) if found else None


def create(  # noqa: PLR0913 - a row has that many columns
    session: Session, user: User, description: str, role: Role, *, expires_ms: int, enabled: bool
) -> tuple[ApiKey, str]:
    """Make a key; return its row, and the key itself, which nothing can tell again.

    Args:
        session: In a transaction that may write.
        user: The account.
        description: A name for people.
        role: The bound on what the key may do. It gives an account with a role of its own no other.
        expires_ms: When it ends, in milliseconds since the epoch; 0 is never.
        enabled: Whether it may be used now.

    Raises:
        Refused: The description is missing or too long, or the account has too many keys.
    """
    check_description(description)
    if (session.scalar(select(func.count()).where(ApiKey.user_id == user.id)) or 0) >= KEYS:
        raise Refused(f"An account can have {KEYS} API keys!")
    secret = secrets.token_urlsafe(_BYTES)
    key = ApiKey(
        id=uuid.uuid4(),
        user_id=user.id,
        description=description,
        role=role,
        expires_ms=expires_ms,
        enabled=enabled,
        created_ms=now_ms(),
    )
    key.secret_digest = _digest(session.info["secret_box"], key, secret)
    session.add(key)
    session.flush()
    return key, f"fb_{key.id.hex}_{secret}"


def check_description(description: str) -> None:
    """Raise Refused for a name that no key can have."""
    if not description.strip():
        raise Refused("API key description should be specified!")
    names.check(description=description)


def _digest(secret_box: SecretBox, key: ApiKey, secret: str) -> str:
    return secret_box.digest("api_key", key.id.hex, key.user_id.hex, key.role, str(key.expires_ms), secret)


def find(session: Session, shown: ShownKey) -> ApiKey | None:
    """Return the key that a program shows, whether or not it may be used now; None if there is no such key."""
    key = session.get(ApiKey, shown.id)
    if key is None:
        return None
    right = _digest(session.info["secret_box"], key, shown.secret)
    return key if hmac.compare_digest(key.secret_digest, right) else None


def is_expired(key: ApiKey) -> bool:
    """Return whether a key's time is over."""
    return 0 != key.expires_ms <= now_ms()


def get(session: Session, key_id: uuid.UUID) -> ApiKey:
    """Return the key with this id. Raises NotFound."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise UnknownId("API key", key_id)
    return key


def page(session: Session, wanted: PageQuery, user_id: uuid.UUID) -> tuple[list[ApiKey], int]:
    """Return a page of an account's keys, and the number of them."""
    statement = select(ApiKey).where(ApiKey.user_id == user_id)
    rows, total = pages.page(session, statement, wanted, sorts=SORTS, searched=(ApiKey.description,), key=ApiKey.id)
    return [key for (key,) in rows], total
