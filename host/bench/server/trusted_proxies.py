"""Proxies whose word for a client's address is taken: none, unless an operator names them."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from bench.errors import UsageError

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Of X-Forwarded-For: a proxy adds one address, and clients make up as many as a header has room for.
_MOST_HOPS = 32


class TrustedProxies:
    """Addresses and networks of proxies.

    Args:
        texts: Each an IP address, or a network as `10.0.0.0/8`.

    Raises:
        UsageError: One is neither.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._networks = [_network(text) for text in texts]
        self._trusts = lru_cache(maxsize=1024)(self._look_up)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._trusts(address)

    def _look_up(self, address: str) -> bool:
        ip = read_address(address)
        return ip is not None and any(ipaddress.ip_address(ip) in network for network in self._networks)

    def client_of(self, peer: str, forwarded: Iterable[str]) -> str:
        """Return the address that a request came from.

        The last address that is not a trusted proxy's counts: each proxy writes behind what it was sent, and what is
        in front of it anybody can have made up.

        Args:
            peer: The address at the other end of the connection.
            forwarded: The values of all headers `X-Forwarded-For`, in their order.
        """
        if peer not in self:
            return peer
        hops = ",".join(forwarded).split(",")
        for hop in reversed(hops[-_MOST_HOPS:]):
            address = read_address(hop)
            if address is None:  # not even a proxy knows: then it is the proxy's own
                return peer
            if address not in self:
                return address
            peer = address
        return peer


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise UsageError(
            f"--trusted-proxy {text}: not an IP address or a network: write 192.0.2.1, or 192.0.2.0/24"
        ) from None


def read_address(text: str) -> str | None:
    """Return an IP address in one form, without a port and a zone and not as IPv4 in IPv6; None if it is not one."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(ip, "ipv4_mapped", None) or ip)
