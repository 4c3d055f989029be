"""Names of devices after a pattern: `{prefix}{type}-{NNN}`, as Django DeviceHub's `iot_provision` has them."""

import re

from bench.errors import Refused

DEFAULT = "{prefix}{type}-{NNN}"
_LIMIT = 128
# The number comes last, so that numbers go on after the highest one that is there.
_PATTERN = re.compile(r"(?P<stem>(?:[^{}<>]|\{prefix\}|\{type\})*)\{(?P<digits>N{1,9})\}")
_PLACE = re.compile(r"\{(prefix|type)\}")


def check_pattern(pattern: str) -> str:
    """Return a pattern, or the empty text. Raises Refused for any other text."""
    if pattern and (len(pattern) > _LIMIT or not pattern.isprintable() or not _PATTERN.fullmatch(pattern)):
        raise Refused(
            f"not a pattern of names: write at most {_LIMIT} characters, with {{prefix}} and {{type}} as needed, and "
            "the number as {NNN} at the end"
        )
    return pattern


class NumberedNames:
    """The names of a pattern, in the order of their numbers.

    Args:
        pattern: One that `check_pattern` accepts; empty for the default one.
        device_type: What stands for {type}: a profile's name.
        prefix: What stands for {prefix}.
    """

    def __init__(self, pattern: str, device_type: str, prefix: str = "") -> None:
        found = _PATTERN.fullmatch(pattern or DEFAULT)
        assert found
        values = {"type": device_type, "prefix": prefix}
        self._digits = len(found["digits"])
        self.stem = _PLACE.sub(lambda place: values[place[1]], found["stem"])
        """The part of the names before the number."""

    def number(self, number: int) -> str:
        """Return a number as the names have it: with zeros before it, and never cut off."""
        return f"{number:0{self._digits}}"

    def name(self, number: int) -> str:
        """Return the name with this number."""
        return self.stem + self.number(number)
