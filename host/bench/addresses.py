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
        return host.lower().rstrip(".") == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_same_host(one: str, other: str) -> bool:
    """Return whether two names or addresses are of one host: as text, as loopbacks, or by the addresses that they have.

    All addresses of this machine are of one host, also where one is a loopback and the other is not.
    """
    if one.lower() == other.lower() or (is_loopback(one) and is_loopback(other)):
        return True
    first, second = resolved(one), resolved(other)
    return bool(first & second) or (any(map(_is_own, first)) and any(map(_is_own, second)))


def resolved(host: str) -> set[str]:
    """Return the addresses of a host; none if it is not known."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _is_own(address: str) -> bool:
    """Return whether an address is this machine's: nobody can listen on another's."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


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
