"""The name that a profile for certificate chains gives the device of a certificate."""

from typing import Any

from bench.cli.render import tables
from bench.errors import UsageError
from bench.input_files import pem
from bench.registry import credentials
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
    from bench.registry import chains  # noqa: PLC0415 - slow to import, and few boards have a chain
    from bench.server.tls import chain  # noqa: PLC0415 - as above

    configuration = (profile.get("profileData") or {}).get("provisionConfiguration") or {}
    pattern = str(configuration.get("certificateRegExPattern") or "")
    shown = pem.split_der(certificates)
    called = printable(str(profile.get("name")))
    authority = credentials.trim_certificate(str(configuration.get("provisionDeviceSecret") or ""))
    if authority and authority not in map(chain.certificate_text, shown):
        tables.warn(
            f"the board's certificates do not go up to that of profile {called}: only a server that has the "
            "board's own one lets it in. Append the missing ones to the file of --certificate"
        )
    common_name = chain.common_name(shown[0])
    name = chains.name_in(common_name, pattern)
    if not name:
        raise UsageError(
            f"profile {called} names devices by {printable(pattern)}, which takes nothing "
            f"from the common name {printable(str(common_name))}: use another certificate, or change the profile"
        )
    return name
