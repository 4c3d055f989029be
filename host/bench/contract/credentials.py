"""Kinds of device credentials, by ThingsBoard's names for them."""

from enum import StrEnum


class CredentialsType(StrEnum):
    """ThingsBoard's kinds of credentials.

    A provisioning request may name any of them; one for LWM2M_CREDENTIALS cannot be satisfied.
    """

    ACCESS_TOKEN = "ACCESS_TOKEN"  # noqa: S105 - a name, no password
    X509_CERTIFICATE = "X509_CERTIFICATE"
    MQTT_BASIC = "MQTT_BASIC"
    LWM2M_CREDENTIALS = "LWM2M_CREDENTIALS"


class BoardCredentialsType(StrEnum):
    """Kinds of credentials that the firmware can make and log in with (`provision.credentials`)."""

    ACCESS_TOKEN = CredentialsType.ACCESS_TOKEN.value
    MQTT_BASIC = CredentialsType.MQTT_BASIC.value
    X509_CERTIFICATE = CredentialsType.X509_CERTIFICATE.value
