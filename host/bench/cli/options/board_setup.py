"""Options that set up a board, and the files that follow from them."""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import httpx
import typer

from bench import addresses
from bench.boards import BoardDefinition
from bench.cli.options import common, operator_session, server_addresses
from bench.cli.options.operator_session import Where, ask
from bench.contract import names, settings
from bench.contract.credentials import BoardCredentialsType
from bench.errors import UsageError
from bench.flash import device_config
from bench.flash.device_config import Choices, Claim, Place, Transport
from bench.registry.provision_type import ProvisionType
from bench.server.tls import authority

P = ParamSpec("P")
T = TypeVar("T")

_DEFAULT_HOST = "127.0.0.1"

_OPTIONS: common.Options = {
    "server": (
        Annotated[
            str, typer.Option(help="HOST:PORT of the MQTT server; the one running on the data folder if not given.")
        ],
        "",
    ),
    "provision_port": (
        Annotated[
            int, typer.Option(min=0, max=65535, help="With --transport http or coap: its port. 0: the server's.")
        ],
        0,
    ),
    "tls": (Annotated[bool, typer.Option("--tls/--no-tls", help="MQTT and HTTP over TLS.")], False),
    "server_ca": (
        Annotated[
            Path | None, typer.Option(help="With --tls: the server's CA, PEM or DER; the data folder's if not given.")
        ],
        None,
    ),
    "server_name": (
        Annotated[
            str, typer.Option(help="With --tls and an address for HOST: a name that the server's certificate is for.")
        ],
        "",
    ),
    "profile": (Annotated[str, typer.Option(help="The profile whose key and secret the board gets.")], "default"),
    "transport": (Annotated[Transport, typer.Option(help="What the board provisions itself over.")], Transport.MQTT),
    "credentials": (
        Annotated[BoardCredentialsType, typer.Option(help="What the board logs in with, and makes itself.")],
        BoardCredentialsType.ACCESS_TOKEN,
    ),
    "certificate": (
        Annotated[Path | None, typer.Option(help="A certificate for the board that was made elsewhere, PEM or DER.")],
        None,
    ),
    "key": (Annotated[Path | None, typer.Option(help="The key of --certificate, PEM or DER.")], None),
    "server_made": (
        Annotated[
            bool,
            typer.Option("--server-made", help="Let the server make the token. A lost answer strands the board."),
        ],
        False,
    ),
    "claim": (
        Annotated[
            Claim,
            typer.Option(
                help="What the board shows: the profile's secret, its own, a proof. A ThingsBoard takes the first."
            ),
        ],
        Claim.SHARED,
    ),
    "after_refusals": (
        Annotated[
            int,
            typer.Option(min=0, max=1000, help="Refused logins in a row until it provisions itself anew. 0: never."),
        ],
        0,
    ),
}

NAMES = tuple(_OPTIONS)
"""The options' names, as parameters."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Configuration that boards of one kind share; the rest follows from a board and its MAC."""

    place: Place
    chosen: Choices
    key: str = field(repr=False)
    secret: str = field(repr=False)
    pair: dict[str, bytes] = field(repr=False)
    sections: dict[str, dict[str, Any]] = field(repr=False)

    @property
    def address(self) -> str:
        """The server's HOST:PORT, for people."""
        return f"{self.place.host}:{self.place.mqtt_port}"

    @property
    def is_local(self) -> bool:
        """True if only this machine reaches the server."""
        return addresses.is_loopback(self.place.host)

    def files(
        self, board: BoardDefinition, mac: str, *, name: str = "", **sections: dict[str, Any]
    ) -> dict[str, bytes]:
        """Return the files of one board besides its firmware: settings.json, the CA, a certificate and its key.

        Args:
            board: The definition it is made by.
            mac: Its MAC, 12 hex digits.
            name: Its name on the server; empty: the default, which follows from its MAC.
            **sections: Settings that go over all others but the name.

        Raises:
            UsageError: The firmware would refuse the settings.
        """
        text = settings.encode(
            self.sections,
            device_config.wired(board),
            sections,
            {"identity": {"name": name}} if name else {},
            host=self.place.host,
            port=self.place.mqtt_port,
            key=self.key,
            secret=device_config.shown_secret(self.chosen.claim, self.secret, name or names.of_mac(mac)),
        )
        ca = {"ca.der": self.place.ca} if self.chosen.tls else {}
        return {**self.pair, **ca, settings.FILE: text}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Values of the options."""

    server: str
    provision_port: int
    tls: bool
    server_ca: Path | None
    server_name: str
    profile: str
    transport: Transport
    credentials: BoardCredentialsType
    certificate: Path | None
    key: Path | None
    server_made: bool
    claim: Claim
    after_refusals: int
    where: Where

    def prepare(self) -> Prepared:
        """Ask the server for what its boards show. Raises UsageError for what could not work."""
        if (self.certificate is None) != (self.key is None):
            raise UsageError("--certificate and --key go together")
        if self.certificate and self.server_made:
            raise UsageError("--server-made and --certificate are two ways to get credentials: choose one")
        pair = device_config.pair(self.certificate, self.key) if self.certificate and self.key else {}
        chosen = Choices(
            transport=self.transport,
            tls=self.tls,
            kind=self.credentials,
            made_by="flash" if pair else "server" if self.server_made else "device",
            claim=self.claim,
            after_refusals=self.after_refusals,
        )
        place = self._place()
        sections = device_config.sections(place, chosen, now_s=int(time.time()))
        key, secret = key_and_secret(self.where, self.profile, optional=bool(pair))
        return Prepared(place=place, chosen=chosen, key=key, secret=secret, pair=pair, sections=sections)

    def _place(self) -> Place:
        """The server that a board is made for. Ports, CA and names of the data folder's are known."""
        data, foreign = self.where.data, bool(self.where.url)
        running = None if self.server and foreign else server_addresses.of_running(data)
        if self.server:
            host, port = host_and_port(self.server)
        elif running:
            host, port = running.host, running.port("mqtt", tls=self.tls)
        else:
            host, port = _DEFAULT_HOST, 8883 if self.tls else 1883
        provision_port = self.provision_port
        if running and not provision_port and self.transport is not Transport.MQTT:
            provision_port = running.port(self.transport, tls=self.tls)
        own = authority.ca_file(data)
        shows_own = not foreign and own.exists() and (not running or running.ca == own.resolve())
        ca, name = self.server_ca, self.server_name
        if self.tls and not ca and shows_own:
            ca = own
            name = name or next(filter(_is_name, authority.existing(data).names), "")
        return Place(
            host=host,
            mqtt_port=port,
            provision_port=provision_port,
            http_port=running.http_port if running else _http_port(self.where.url, host),
            ca=device_config.ca(ca) if ca else b"",
            name=name,
        )


def sets_up(command: Callable[Concatenate[Setup, P], T]) -> Callable[..., T]:
    """Give a command these options and those that choose the server, gathered in a `Setup` as its first parameter."""

    def made(**given: Any) -> Setup:
        where = Where(**{name: given.pop(name) for name in operator_session.WHERE})
        return Setup(where=where, **given)

    return common.gathered({**_OPTIONS, **operator_session.WHERE}, made)(command)


def key_and_secret(where: Where, profile: str, *, optional: bool = False) -> tuple[str, str]:
    """Return the provisioning key and secret of a profile.

    Args:
        where: The server that has the profile.
        profile: Its name.
        optional: Return empty texts if it has none.

    Raises:
        UsageError: It has none, and they are not optional.
    """
    found = ask(where, lambda server: server.profile(profile))
    key = found.get("provisionDeviceKey")
    secret = ((found.get("profileData") or {}).get("provisionConfiguration") or {}).get("provisionDeviceSecret")
    if key and secret and found.get("provisionType") != ProvisionType.X509_CERTIFICATE_CHAIN:
        return key, secret
    if optional:
        return "", ""
    raise UsageError(f"profile {profile} has no provisioning key and secret: choose another with --profile")


def _is_name(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return True
    return False


def _http_port(url: str, host: str) -> int:
    """Return the HTTP port in a server's URL, where it gives the time, if boards go to the same host; else 0."""
    there = httpx.URL(url)
    return there.port or 80 if (there.scheme, there.host) == ("http", host) else 0


def host_and_port(text: str) -> tuple[str, int]:
    """HOST:PORT, taken apart. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"{text} is no address: write HOST:PORT, e.g. 192.168.1.10:1883")
    return host, int(port)
