"""Provisioning strategies of profiles, and their policies for devices that provision again."""

from enum import StrEnum


class ProvisionType(StrEnum):
    """A profile's strategy, as ThingsBoard names it."""

    DISABLED = "DISABLED"
    ALLOW_CREATE_NEW_DEVICES = "ALLOW_CREATE_NEW_DEVICES"
    CHECK_PRE_PROVISIONED_DEVICES = "CHECK_PRE_PROVISIONED_DEVICES"
    X509_CERTIFICATE_CHAIN = "X509_CERTIFICATE_CHAIN"


class Again(StrEnum):
    """The fate of a device that is there already and provisions again, by a proof of its own key."""

    REFUSE = "refuse"
    """As ThingsBoard does."""
    KEEP = "keep"
    """It gets new credentials, and stays what it is."""
    RESET = "reset"
    """Its record is deleted, and a new device gets its name."""
