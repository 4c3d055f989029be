"""The addresses of a server, and connections to them."""

import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from bench.conformance.check import NotHere
from bench.errors import BenchError, UsageError
from bench.input_files import pem
from bench.rest_client.connectivity import USUAL_PORTS

_TLS = {"mqtts", "https"}


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of one transport of a server."""

    scheme: str
    host: str
    port: int

    @property
    def tls(self) -> bool:
        """True for a scheme over TLS."""
        return self.scheme in _TLS

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def address(url: str) -> Address:
    """Return the address that a URL names.

    Args:
        url: `mqtt://HOST`, `https://HOST:PORT`, ...; without a port it is the scheme's own.

    Raises:
        UsageError: It is not a URL of one of the schemes, or has more than host and port.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--url {url} is not a URL: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise UsageError("--url is the address alone: the profile's secret comes in a file")
    if parts.scheme not in USUAL_PORTS or not parts.hostname:
        raise UsageError(f"--url {url} must be one of {', '.join(f'{each}://HOST:PORT' for each in USUAL_PORTS)}")
    try:
        parts.hostname.encode("idna")
    except UnicodeError as error:
        raise UsageError(f"--url {url}: {parts.hostname} cannot be the name of a host") from error
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"--url {url}: devices know a server by its address alone, without a path")
    return Address(scheme=parts.scheme, host=parts.hostname, port=USUAL_PORTS[parts.scheme] if port is None else port)


class CheckedAddresses:
    """The addresses of one server, at most one a scheme, and connections to them."""

    def __init__(self, addresses: Iterable[Address], *, ca: Path | None = None, patience_s: float = 10.0) -> None:
        """Collect the addresses; nothing is connected yet.

        Args:
            addresses: The addresses.
            ca: A PEM file with the CAs that TLS clients trust; None: those of this machine.
            patience_s: Seconds that the server may take to answer.

        Raises:
            UsageError: There are two addresses for a scheme.
        """
        self._addresses: dict[str, Address] = {}
        for each in addresses:
            if each.scheme in self._addresses:
                raise UsageError(f"two addresses for {each.scheme}: one server at a time is checked")
            self._addresses[each.scheme] = each
        self._ca = ca
        self._lost: dict[str, str] = {}
        self.answered: set[str] = set()
        """The schemes without connections (CoAP) that answered so far."""
        self.patience_s = patience_s

    def at(self, *schemes: str) -> Address:
        """Return the address of the first of these schemes that has one.

        Raises:
            NotHere: There is no address for any of them.
        """
        for scheme in schemes:
            if scheme in self._addresses:
                return self._addresses[scheme]
        raise NotHere(f"no --url {' or '.join(f'{each}://' for each in schemes)} was given")

    def only(self, scheme: str) -> "CheckedAddresses":
        """Return the same server with the address of this scheme alone.

        Raises:
            NotHere: There is no address for it.
        """
        return CheckedAddresses([self.at(scheme)], ca=self._ca, patience_s=self.patience_s)

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """The context of TLS clients, which check the chain and the name. Raises UsageError for an invalid CA file."""
        return pem.client_context(self._ca) if self._ca else ssl.create_default_context()

    def plain(self, where: Address) -> socket.socket:
        """Return a TCP connection without TLS, also to an address for TLS.

        Args:
            where: The address.

        Raises:
            BenchError: The server is not reached, or was not before: it is not tried again then.
        """
        self.expect_reachable(where)
        try:
            return socket.create_connection((where.host, where.port), self.patience_s)
        except OSError as error:
            raise self.unreachable(where, error) from error

    def connection(self, where: Address) -> socket.socket:
        """Return a connection as a device makes it, over TLS if the address is for that.

        Args:
            where: The address.

        Raises:
            BenchError: The server is not reached, or was not before (it is not tried again then), or its certificate
                is refused.
            UsageError: The CA file is invalid.
        """
        line = self.plain(where)
        if not where.tls:
            return line
        try:
            return self.trust.wrap_socket(line, server_hostname=where.host)
        except OSError as error:
            line.close()
            raise self.unreachable(where, error) from error

    def expect_reachable(self, where: Address) -> None:
        """Raise if the server was not reached before: waiting again for each check would be in vain.

        Raises:
            BenchError: With the reason of that time.
        """
        if why := self._lost.get(where.scheme):
            raise BenchError(why)

    def unreachable(self, where: Address, error: Exception) -> BenchError:
        """Return the error for a server that is not reached, and remember it for `expect_reachable`.

        A refused certificate is not remembered.

        Args:
            where: The server's address.
            error: The reason.
        """
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate is refused, {error.verify_message.rstrip('.')} (--ca FILE names whom to trust)"
            return BenchError(f"{where} is not reached: {why}")  # not remembered: nothing was waited for
        if isinstance(error, TimeoutError):
            why = f"nobody answers within {self.patience_s:g} s"
        else:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        self._lost[where.scheme] = f"{where} is not reached: {why}"
        return BenchError(self._lost[where.scheme])
