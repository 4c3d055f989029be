"""Valid device names, and random names and keys."""

import re
import secrets
import string

_ALPHANUMERIC = string.ascii_letters + string.digits
_MADE_UP = 20  # characters
_LIMIT = 255  # UTF-16 units
# What ThingsBoard's validators take for a template or for markup: {{...}}, <b>, </b>, <!--, a<b.
_SCRIPT = re.compile(r"\{\{.*\}\}|<[A-Za-z/!?]", re.DOTALL)


def is_valid(name: str) -> bool:
    """Return whether a new device may have this (trimmed) name."""
    return bool(name) and len(name.encode("utf-16-le")) // 2 <= _LIMIT and "\0" not in name and not _SCRIPT.search(name)


def random_text() -> str:
    """Return 20 random letters and digits, as ThingsBoard makes keys, names and tokens."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(_MADE_UP))
