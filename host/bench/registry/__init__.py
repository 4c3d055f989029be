"""The domain: profiles, devices, their credentials and what they report. Knows no protocol."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.registry.provision_type import ProvisionType

if TYPE_CHECKING:
    from bench.registry.audit import Origin
    from bench.registry.batching import Conflict
    from bench.registry.chains import Chain, ChainOutcome
    from bench.registry.credentials import CredentialsRequest, CredentialsType, DeviceCredentials, MqttLogin
    from bench.registry.logins import DeviceLogin
    from bench.registry.model import Credentials, Device, Profile
    from bench.registry.provisioning import ProvisionOutcome, ProvisionRequest, Status
    from bench.registry.registry import DeviceView, ProfileView, Registry

FILE = "registry.sqlite3"
"""Where a registry is in its folder, if no other database is named."""

# SQLAlchemy takes longer to import than most commands to run, and few of them need it.
_HOMES = {
    "Origin": "audit",
    "Chain": "chains",
    "ChainOutcome": "chains",
    "Conflict": "batching",
    "DeviceCredentials": "credentials",
    "MqttLogin": "credentials",
    "CredentialsRequest": "credentials",
    "DeviceLogin": "logins",
    "Credentials": "model",
    "Device": "model",
    "Profile": "model",
    "ProvisionOutcome": "provisioning",
    "ProvisionRequest": "provisioning",
    "Status": "provisioning",
    "DeviceView": "registry",
    "ProfileView": "registry",
    "Registry": "registry",
}

__all__ = [
    "FILE",
    "Chain",
    "ChainOutcome",
    "Conflict",
    "Credentials",
    "CredentialsRequest",
    "CredentialsType",
    "Device",
    "DeviceCredentials",
    "DeviceLogin",
    "DeviceView",
    "MqttLogin",
    "Origin",
    "Profile",
    "ProfileView",
    "ProvisionOutcome",
    "ProvisionRequest",
    "ProvisionType",
    "Registry",
    "Status",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(f"bench.registry.{_HOMES[name]}"), name)
