"""The topics of a device at the user's own broker: `{prefix}/{type}/{id}/data`, `status` and `cmd`.

The type is the name of its profile and the id its own name, each as one level of a topic that no wildcard, separator or
special topic can be made of, here or in AMQP's routing keys. The template of a profile may have other levels before the
id. The id is always the level before the last, so that two devices, whose names differ, never share a topic, whatever
the patterns of their profiles; and a board, which appends its name to the path of `broker.url`, can follow any pattern.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from bench.errors import Refused, UsageError

PREFIX = "iot"
"""The default prefix."""
PATTERN = "{prefix}/{type}/{id}"
"""The levels before `data`, `status` and `cmd`, unless a profile has others."""
_PATTERN = re.compile(r"((\{prefix\}|\{type\}|[A-Za-z0-9_-]{1,64})/){1,8}\{id\}")
_PLACE = re.compile(r"\{(\w+)\}")
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,7}")


@dataclass(frozen=True)
class Topics:
    """All topics that a device may use."""

    data: str
    """It publishes telemetry here,"""
    status: str
    """and `online` or `offline` here, and nowhere else."""
    commands: str
    """It subscribes to this one, and to no other."""

    @classmethod
    def of(cls, prefix: str, profile: str, name: str, pattern: str = PATTERN) -> Self:
        """Return the topics of a device.

        Args:
            prefix: One that `check_prefix` accepts.
            profile: The name of its profile.
            name: Its name.
            pattern: One that `check_pattern` accepts.
        """
        values = {"prefix": prefix, "type": level(profile), "id": level(name)}
        own = _PLACE.sub(lambda place: values[place[1]], pattern)
        return cls(f"{own}/data", f"{own}/status", f"{own}/cmd")

    @property
    def published(self) -> tuple[str, str]:
        """The topics that the device may publish to."""
        return self.data, self.status


def level(text: str) -> str:
    """Return a text as one level of a topic: percent-encoded (RFC 3986), and the point, which AMQP separates with, too.

    Two texts have two levels.
    """
    return quote(text, safe="").replace(".", "%2E")


def check_prefix(prefix: str) -> str:
    """Return a prefix. Raises UsageError for any other text."""
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(f"not a prefix of topics: {prefix}; write levels of letters, digits, _ and -, as plant/line-4")
    return prefix


def check_pattern(pattern: str) -> str:
    """Return a pattern of topics. Raises Refused for any other text."""
    if not _PATTERN.fullmatch(pattern):
        raise Refused(
            "not a pattern of topics: write 1 to 8 levels, each {prefix}, {type} or letters, digits, _ and -, and {id} "
            "as the last one, as plant/{type}/{id}"
        )
    return pattern
