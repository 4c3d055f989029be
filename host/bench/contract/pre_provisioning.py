"""Hooks that are asked before a device is provisioned: what may be said about one."""

from enum import StrEnum

TIMEOUT_S = 2.0
"""Seconds until a hook has to have decided, unless it is given others."""
SHORTEST_S, LONGEST_S = 0.1, 30.0


class Default(StrEnum):
    """The decision about a device without a hook's."""

    REFUSE = "refuse"
    ALLOW = "allow"
