"""Addresses for boards, from what people type: HOST:PORT, and the URL of a server."""

from collections.abc import Mapping

import httpx

from bench import addresses
from bench.contract import forms
from bench.errors import UsageError
from bench.rest_client.connectivity import USUAL_PORTS, Place
from bench.text import printable


def host_of(url: httpx.URL) -> str:
    """Return the host of a URL, if boards can have it for their server. Raises UsageError."""
    host = url.host
    if problem := forms.host_problem(host):
        raise UsageError(f"the boards' server: {printable(host)} {problem}; name it with --server HOST:PORT")
    return host


def of_url(url: httpx.URL, places: Mapping[str, Place], *, secure: bool) -> Place:
    """Return the host and the port of MQTT on a server.

    Args:
        url: The server's.
        places: Its transports, as `connectivity.places` has them; an address that boards cannot use does not count.
        secure: With TLS.

    Raises:
        UsageError: Boards cannot use the host.
    """
    name = "mqtts" if secure else "mqtt"
    if name in places and not forms.host_problem(places[name][0]):
        return places[name]
    return host_of(url), USUAL_PORTS[name]


def of_this_machine(host: str) -> str:
    """Return a host; in place of a loopback this machine's address in the network, if it has one."""
    if not addresses.is_loopback(host):
        return host
    try:
        return addresses.outbound()
    except OSError:
        return host


def clear_port(url: httpx.URL) -> int:
    """Return the port on which the host of a URL speaks HTTP in clear, from which a board can get the time; 0: none."""
    if url.scheme == "http":
        return url.port or 80
    return 0 if url.port else 80  # what redirects to HTTPS says the time, too


def provision_port(url: httpx.URL, *, tls: bool) -> int:
    """Return the port of a URL for provisioning over HTTP. Raises UsageError if it is for the other kind, with TLS."""
    if (url.scheme == "https") != tls:
        cure = "leave out --tls" if tls else "add --tls"
        raise UsageError(f"{url} is {'not ' if tls else ''}over TLS: {cure}, or give --provision-port")
    return url.port or (443 if tls else 80)


def host_and_port(text: str, *, ipv6: bool = False) -> tuple[str, int]:
    """Split HOST:PORT; with `ipv6` HOST may be an address of it, which boards do not speak. Raises UsageError."""
    host, _, port = text.rpartition(":")
    shown = printable(text.rpartition("@")[2])  # what is before it may be a password
    if not host or not port.isdecimal() or not port.isascii() or not 0 < int(port) < 65536:
        raise UsageError(f"not an address: {shown}; write HOST:PORT, e.g. 192.168.1.10:1883")
    if problem := forms.host_problem(host, ipv6=ipv6):
        raise UsageError(f"not an address: {shown} {problem}; write HOST:PORT, e.g. 192.168.1.10:1883")
    return host, int(port)
