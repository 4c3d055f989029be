"""Association codes as they are on labels, and as people type them."""

import re
import secrets

# Crockford's base 32: no letter that is read as a digit, and no word. Twelve are 60 bits, and guesses are counted.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH, _GROUP = 12, 4
_READ_AS = str.maketrans("OIL", "011")
_SEPARATORS = re.compile(r"[\s-]")


def random() -> str:
    """Return a new code, in groups."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return "-".join(code[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))


def typed(text: str) -> str:
    """Return a code without groups, from text in any case, with or without hyphens, with letters for digits."""
    return _SEPARATORS.sub("", text).upper().translate(_READ_AS)
