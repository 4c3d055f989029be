"""Network addresses: whether one is this machine's own, and by which one others reach it."""

import ipaddress
import socket

_DOCUMENTATION = ("192.0.2.1", 9)  # RFC 5737: nobody's address


def is_ip(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host, a name or an IP address, is what every machine calls itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_name(host: str) -> bool:
    """Return whether a host is a name, and not an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def outbound() -> str:
    """Return this machine's IPv4 address in the network that its default route leads to.

    No packet is sent: connecting a UDP socket only chooses the route.

    Raises:
        OSError: This machine has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_DOCUMENTATION)
        return str(probe.getsockname()[0])


def network(address: str) -> str:
    """Return what counts as one address: of IPv6 the network of 64 bits, which one machine may have to itself.

    What is not an address (a socket of another family) is its own network.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))
