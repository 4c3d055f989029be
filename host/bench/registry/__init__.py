"""The domain: profiles, devices, their credentials and what they report. Knows no protocol."""

from bench.registry.audit import Origin
from bench.registry.chains import Chain, ChainOutcome
from bench.registry.commits import Conflict
from bench.registry.credentials import CredentialsType, DeviceCredentials, Login, Wish
from bench.registry.logins import DeviceLogin
from bench.registry.model import Credentials, Device, Profile
from bench.registry.provisioning import Outcome, ProvisionRequest, ProvisionType, Status
from bench.registry.registry import DeviceView, ProfileView, Registry

__all__ = [
    "Chain",
    "ChainOutcome",
    "Conflict",
    "Credentials",
    "CredentialsType",
    "Device",
    "DeviceCredentials",
    "DeviceLogin",
    "DeviceView",
    "Login",
    "Origin",
    "Outcome",
    "Profile",
    "ProfileView",
    "ProvisionRequest",
    "ProvisionType",
    "Registry",
    "Status",
    "Wish",
]
