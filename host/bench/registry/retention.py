"""The rules of retention: how long, and how much of, telemetry history, finished calls and the audit trail is kept."""

from dataclasses import dataclass

DAYS, MEGABYTES = "historyDays", "historyMb"
"""Where a profile's details have its own numbers."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Limits of what is kept; 0 is without one."""

    history_days: float = 90
    """Of values, by their own time."""
    history_mb: float = 1024
    """Of a profile's history, estimated; MiB."""
    audit_days: float = 365
    audit_rows: int = 1_000_000
    """Of successful changes by operators, and as many of all other rows."""
    calls_days: float = 90
    """Of persistent calls that are over, since they were made."""
    every_s: float = 600
