"""Addresses of servers, errors that name them, and the guard against secrets in clear on public networks."""

import socket

from firstboot import memory
from firstboot.errors import CertificateRefused, NetworkError, PlaintextRefused
from firstboot.settings import Settings


def look_up(host: str, port: int, kind: int) -> tuple[str, int] | bytes:
    """Return the first IPv4 address of a host, in the form that sockets accept.

    There is no deadline: lwIP's look-up has none, and takes half a minute at most.

    Args:
        host: a name or an address.
        port: the port to go with it.
        kind: the type of socket, e.g. `socket.SOCK_STREAM`.

    Raises:
        NetworkError: if there is none.
    """
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, kind)
    except OSError as error:
        memory.check(error)
        raise NetworkError("%s was not found (%s)" % (host, error))
    if not found:
        raise NetworkError("%s has no IPv4 address" % host)
    return found[0][-1]  # type: ignore[return-value]


def guard(address: tuple[str, int] | bytes) -> None:
    """Raise PlaintextRefused unless the address is this host's own, or on the local network.

    Check the very address that is then connected to: a second look-up could give another one.
    """
    if not _is_local(_octets(address)):
        raise PlaintextRefused(
            "the server's address is public, and secrets would travel in clear: set server.tls, "
            "or server.allow_plaintext if the way there is protected"
        )


def named(error: Exception, host: str, port: int) -> str:
    """Return an error's message, with host and port before it unless they are in it.

    Of one host's ports the message knows best: it is not named twice.
    """
    text = str(error)
    return text if "%s, port " % host in text else "%s, port %d: %s" % (host, port, text)


def of_provisioning(error: NetworkError, settings: Settings) -> NetworkError:
    """Return an error of the provisioning exchange, of the same kind, with that exchange's host and port in it."""
    if isinstance(error, CertificateRefused):  # its text has the cure
        return error
    port = settings.port() if settings.text("provision.transport") == "mqtt" else settings.provision_port()
    found = type(error)(named(error, settings.text("server.host"), port))
    found.retry_ms = error.retry_ms
    return found


def _octets(address: tuple[str, int] | bytes) -> list[int]:
    """Return the four numbers of an IPv4 address; none for anything else."""
    if not isinstance(address, tuple):
        # the unix port's struct sockaddr_in: family (BSD: length, family), port, address
        families = address[0] | address[1] << 8, address[1]
        return list(address[4:8]) if socket.AF_INET in families else []
    try:
        return [int(part) for part in address[0].split(".")]
    except ValueError:
        return []


def _is_local(octets: list[int]) -> bool:
    """Return whether it is loopback (RFC 1122), private (RFC 1918) or link-local (RFC 3927)."""
    if len(octets) != 4 or not all(0 <= octet <= 255 for octet in octets):
        return False
    first, second = octets[:2]
    return (
        first in (10, 127)
        or (first == 172 and 16 <= second <= 31)
        or (first == 192 and second == 168)
        or (first == 169 and second == 254)
    )
