"""The name that a profile for certificate chains gives the device of a certificate."""

from typing import Any

from bench.errors import UsageError
from bench.input_files import pem
from bench.registry import chains
from bench.registry.provision_type import ProvisionType
from bench.text import printable


def device_name(profile: dict[str, Any], certificates: bytes) -> str:
    """Return the name by which a server will know the device that shows these certificates.

    Args:
        profile: The device's profile, as ThingsBoard's JSON has it.
        certificates: The device's own one and those above it, DER, one after the other.

    Returns:
        The part of the certificate's common name that the profile's pattern takes; empty for another kind of profile.

    Raises:
        UsageError: The pattern takes nothing from this certificate: the server would refuse the device.
    """
    if profile.get("provisionType") != ProvisionType.X509_CERTIFICATE_CHAIN:
        return ""
    from bench.server.tls import chain  # noqa: PLC0415 - slow to import, and few boards have a chain

    configuration = (profile.get("profileData") or {}).get("provisionConfiguration") or {}
    pattern = str(configuration.get("certificateRegExPattern") or "")
    common_name = chain.common_name(pem.split_der(certificates)[0])
    name = chains.name_in(common_name, pattern)
    if not name:
        raise UsageError(
            f"profile {printable(str(profile.get('name')))} names devices by {printable(pattern)}, which takes nothing "
            f"from the common name {printable(str(common_name))}: use another certificate, or change the profile"
        )
    return name
