"""Users' passwords as they are stored: scrypt with a salt (RFC 7914), and a digest with the key beside the database.

Slow on purpose: not for the event loop.
"""

import base64
import hashlib
import hmac
import secrets

from bench.registry.encryption import SecretBox
from bench.registry.model import User
from bench.registry.roles import Role

# 16 MiB and some 0.2 s each: OWASP's recommendation for scrypt in the least memory.
_SLOW = (1 << 14, 8, 5)
# Of a password that is random itself: who cannot guess 144 bits at once cannot guess them slowly either.
_QUICK = (1 << 4, 8, 1)
_MEMORY = 64 << 20
_SALT_BYTES = 16
_SCHEME = "scrypt"


def hashed(password: str, *, is_random: bool = False) -> str:
    """Return the hash of a password, which `bound` binds to an account.

    Args:
        password: In plain text.
        is_random: It was drawn at 128 bits or more, not chosen: a quick hash is enough.
    """
    n, r, p = _QUICK if is_random else _SLOW
    salt = secrets.token_bytes(_SALT_BYTES)
    parts = (salt, _derive(password, salt, n, r, p))
    return "$".join((_SCHEME, f"{n}", f"{r}", f"{p}", *(base64.b64encode(part).decode() for part in parts)))


def bound(secret_box: SecretBox, user: User, hashed_password: str) -> str:
    """Return what is stored: the hash with its last part, the key that scrypt derives, replaced by a digest.

    So nobody can guess a password, or make a hash, without the key beside the database; and what is stored is worth
    something in no other row, nor in this one for another role.
    """
    settings, _, derived = hashed_password.rpartition("$")
    return f"{settings}${_digest(secret_box, user, derived)}"


def _digest(secret_box: SecretBox, user: User, derived: str) -> str:
    role = [] if user.role in {None, Role.OPERATOR} else [user.role]  # hashes from before there were roles are right
    return secret_box.digest("password", str(user.id), str(user.customer_id), derived, *role)


def is_correct(secret_box: SecretBox, user: User | None, password: str) -> bool:
    """Return whether a password is a user's. A wrong one takes as long for all, and for nobody."""
    stored = user.password_hash if user else ""
    _, *values = (stored or _NOBODY).split("$")
    n, r, p = map(int, values[:3])
    derived = _derive(password, base64.b64decode(values[3]), n, r, p)
    wanted = _digest(secret_box, user or User(), base64.b64encode(derived).decode())
    found = hmac.compare_digest(wanted, values[4])
    if not found and (n, r, p) != _SLOW:
        _derive(password, b"", *_SLOW)
    return found and bool(stored)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY)


# Stands for the hash of an account that there is none, or that has none yet.
_NOBODY = "$".join((_SCHEME, *map(str, _SLOW), base64.b64encode(bytes(_SALT_BYTES)).decode(), "-"))
