"""Users' passwords as they are stored: scrypt with a salt (RFC 7914). Slow on purpose: not for the event loop."""

import base64
import hashlib
import hmac
import secrets

# 16 MiB and some 0.2 s each: OWASP's recommendation for scrypt in the least memory.
_N, _R, _P = 1 << 14, 8, 5
# Of a password that is random itself: who cannot guess 144 bits at once cannot guess them slowly either.
_QUICK = (1 << 4, 8, 1)
_MEMORY = 64 << 20
_SALT_BYTES = 16
_SCHEME = "scrypt"


def hashed(password: str, *, is_random: bool = False) -> str:
    """Return what is stored of a password.

    Args:
        password: In plain text.
        is_random: It was drawn at 128 bits or more, not chosen: a quick hash is enough.
    """
    n, r, p = _QUICK if is_random else (_N, _R, _P)
    salt = secrets.token_bytes(_SALT_BYTES)
    parts = (salt, _derive(password, salt, n, r, p))
    return "$".join((_SCHEME, f"{n}", f"{r}", f"{p}", *(base64.b64encode(part).decode() for part in parts)))


def is_correct(password: str, stored: str) -> bool:
    """Return whether a password is the stored one. Takes as long where none is stored."""
    scheme, *values = (stored or _NOBODY).split("$")
    n, r, p = map(int, values[:3])
    salt, wanted = map(base64.b64decode, values[3:])
    found = hmac.compare_digest(_derive(password, salt, n, r, p), wanted)
    return found and scheme == _SCHEME and bool(stored)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY)


# Stands for the password of an account that there is none, or that has none yet.
_NOBODY = "$".join((_SCHEME, f"{_N}", f"{_R}", f"{_P}", base64.b64encode(bytes(_SALT_BYTES)).decode(), "AA=="))
