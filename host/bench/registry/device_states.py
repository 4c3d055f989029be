"""The states of a device's life (see `lifecycle`), for commands, too, which start without the database."""

from enum import StrEnum


class ProvisioningState(StrEnum):
    """The steps of a device's life."""

    DEFINED = "defined"
    ACTIVATED = "activated"
    PROVISIONED = "provisioned"
    ASSOCIATED = "associated"


class Access(StrEnum):
    """The rights of a device: only an active one may log in."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    DECOMMISSIONED = "decommissioned"


class Status(StrEnum):
    """The connectivity status of a device."""

    ONLINE = "online"
    OFFLINE = "offline"
    ERROR = "error"
    MAINTENANCE = "maintenance"
    LOW_BATTERY = "low_battery"
    PROVISIONING = "provisioning"
