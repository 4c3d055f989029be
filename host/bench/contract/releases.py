"""Releases of ThingsBoard, and what differs between them where boards and operators' clients notice it.

Each difference is a field of `Release` that is true from one release on. Of those that are marked *seen*, the release
is the first one that was seen to do so; older ones than that, back to the last one that was seen not to, are unknown.
"""

import re
from dataclasses import dataclass, field, fields
from typing import Any

from bench.errors import UsageError

_SINCE = "since"
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}")
# MAJOR.MINOR.MAINTENANCE.PATCH
_PARTS = 4
_LINES = ("3.6", "3.7", "3.8", "3.9", "4.0", "4.1", "4.2", "4.3", "4.4")


def _since(version: str) -> Any:
    return field(metadata={_SINCE: version})


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release, and what it does."""

    version: str
    hands_over_once: bool = _since("4.2.1.1")
    """CHECK_PRE_PROVISIONED_DEVICES: a device that is provisioned gets FAILURE. Before: its credentials, again."""
    makes_names_unique: bool = _since("4.3")
    """`nameConflictPolicy=UNIQUIFY` makes another name. Before: the parameter is ignored, the name is refused."""
    has_api_keys: bool = _since("4.3")
    """`X-Authorization: ApiKey ...`, and its routes. Before: 401, and 404."""
    refuses_control_characters: bool = _since("4.3.1.3")
    """Seen. In tokens, client ids, user names and passwords. Before: they are stored as they are, all but NUL."""
    keeps_sessions: bool = _since("4.3.1.3")
    """Seen. Credentials that are saved unchanged leave the session of their device. Before: they end it."""
    reads_json_cells: bool = _since("4.3.1.3")
    """Seen. JSON in a cell of an import is a value. Before: text."""
    has_newer_routes: bool = _since("4.4")
    """`tenant/device`, `deviceInfos/all`, `deviceProfileInfos/list`, `customers/list`. Before: 404."""


SINCE: dict[str, str] = {each.name: each.metadata[_SINCE] for each in fields(Release) if _SINCE in each.metadata}
"""The first release in which a field of `Release` is true, by the field's name."""


def release(version: str) -> Release:
    """Return the release of a version.

    Args:
        version: `4.2`, `4.2.1` or `4.2.1.1`.

    Raises:
        UsageError: It is not a version, or not one from 3.6 to 4.4.
    """
    if not _VERSION.fullmatch(version) or not any(f"{version}.".startswith(f"{line}.") for line in _LINES):
        raise UsageError(
            f"unknown ThingsBoard release {version!r}: known are {', '.join(_LINES)}, and their maintenance releases "
            "and patches, e.g. 4.2.1 or 4.3.1.3"
        )
    return _release(version)


def _release(version: str) -> Release:
    own = _parts(version)
    return Release(version=version, **{name: own >= _parts(first) for name, first in SINCE.items()})


def _parts(version: str) -> list[int]:
    numbers = [int(each) for each in version.split(".")]
    return numbers + [0] * (_PARTS - len(numbers))


def nearest(reported: str) -> Release | None:
    """Return the known release that a server is nearest to, by the version that it says it has.

    Args:
        reported: As the server says it, e.g. `4.3.1.3`, `4.5.0-SNAPSHOT` or `4.2.1PE`.

    Returns:
        The release; an older or newer one than those known counts as the oldest or newest. None: it is not a version.
    """
    found = _VERSION.match(reported)
    if found is None:
        return None
    return _release(min(max(found[0], OLDEST.version, key=_parts), NEWEST.version, key=_parts))


OLDEST = _release(_LINES[0])
NEWEST = _release(_LINES[-1])
STEPS = tuple(_release(each) for each in sorted({OLDEST.version, *SINCE.values()}, key=_parts))
"""The oldest release, and each one that differs from the one before, in their order."""
