"""Networks on which boards send secrets without TLS, unless their settings allow it everywhere."""

from ipaddress import IPv4Address, IPv4Network

LOCAL_NETWORKS = tuple(
    map(IPv4Network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"))
)
"""Loopback (RFC 1122), private (RFC 1918) and link-local (RFC 3927)."""


def is_local(address: IPv4Address) -> bool:
    """Return whether boards take an address for one on their local network."""
    return any(address in each for each in LOCAL_NETWORKS)
