"""The kinds of events that hooks get."""

from enum import StrEnum


class HookEvent(StrEnum):
    """A kind of event."""

    CREATED = "created"
    PROVISIONED = "provisioned"
    ROTATED = "rotated"
    """The device has other credentials."""
    ASSOCIATED = "associated"
    """It belongs to a customer."""
    REFUSED = "refused"
    """A device's request for provisioning, or for other credentials."""
    DEACTIVATED = "deactivated"
    DECOMMISSIONED = "decommissioned"
    DELETED = "deleted"
    ROLLOUT_STARTED = "rollout_started"
    ROLLOUT_STOPPED = "rollout_stopped"
    """By itself, or by an operator."""
    ROLLOUT_FINISHED = "rollout_finished"
