"""Valid names and texts of operators, and random names and keys."""

import itertools
import json
import re
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import Refused

if TYPE_CHECKING:  # commands have random names and keys, too, and start without the database
    from sqlalchemy import ColumnElement

_ALPHANUMERIC = string.ascii_letters + string.digits
_MADE_UP = 20  # characters
_SUFFIX = 6
_LIMIT = 255  # UTF-16 units
# What ThingsBoard's validators take for a template or for markup: {{...}}, <b>, </b>, <!--, a<b; not `<!` at the end.
_SCRIPT = re.compile(r"\{\{.*\}\}|<[A-Za-z?]|<[/!].", re.DOTALL)


@dataclass(frozen=True)
class Naming:
    """The fate of a name that is taken: refused, or made unique by a suffix, as `nameConflictPolicy` has it."""

    unique: bool = False
    separator: str = "_"
    random: bool = True
    """The suffix is six letters and digits; otherwise it counts from 1."""

    def rivals(self, column: Any, name: str) -> "ColumnElement[bool]":
        """Return the condition for the names that `resolve` has to know."""
        same: ColumnElement[bool] = column.startswith(name, autoescape=True) if self.unique else column == name
        return same

    def resolve(self, name: str, taken: Collection[str], refusal: str) -> str:
        """Return the name, or one that is not taken. Raises Refused with this message."""
        if name not in taken:
            return name
        if not self.unique:
            raise Refused(refusal)
        suffixes = (random_text(_SUFFIX) if self.random else str(number) for number in itertools.count(1))
        candidates = (f"{name}{self.separator}{suffix}" for suffix in suffixes)
        return next(each for each in candidates if each not in taken)


def is_valid(name: str) -> bool:
    """Return whether a new device may have this (trimmed) name."""
    return bool(name) and _units(name) <= _LIMIT and "\0" not in name and not is_script(name)


def is_script(text: str) -> bool:
    """Return whether ThingsBoard takes a text for a template or for markup."""
    return _SCRIPT.search(text) is not None


def check(**fields: Any) -> None:
    """Raise Refused, with ThingsBoard's words, for a text that is too long or has markup in it, or JSON that has."""
    for field, value in fields.items():
        if isinstance(value, str) and _units(value) > _LIMIT:
            raise Refused(f"Validation error: {field} length must be equal or less than {_LIMIT}")
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if value is not None and is_script(text):
            raise Refused(f"Validation error: {field} is malformed")


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def random_text(length: int = _MADE_UP) -> str:
    """Return random letters and digits; by default 20, as ThingsBoard makes keys, names and tokens."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))
