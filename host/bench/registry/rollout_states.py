"""The states of a rollout and of its devices (see `rollouts`), for commands, too, which start without the database."""

from enum import StrEnum


class RolloutState(StrEnum):
    """The state of a rollout."""

    RUNNING = "running"
    PAUSED = "paused"
    """No further device gets the package until it is resumed; those that have it are watched."""
    STOPPED = "stopped"
    """For good, by an operator or by itself. Devices that were in the middle of it are watched to their end."""
    FINISHED = "finished"


class DeviceState(StrEnum):
    """The state of a device of a rollout. The last three are final."""

    PENDING = "pending"
    UPDATING = "updating"
    """It is assigned the package."""
    UPDATED = "updated"
    FAILED = "failed"
    LEFT_OUT = "left_out"
    """It does not belong to the rollout any more: neither a success nor a failure."""
