"""Options for a board's settings, and the files that follow from them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import httpx
import typer

from bench import addresses
from bench.boards import BoardDefinition
from bench.cli.options import board_addresses, board_reach, chain_names, common, operator_session, server_addresses
from bench.cli.options.operator_session import ServerOptions, run_on_server
from bench.cli.options.server_addresses import ServerAddresses
from bench.cli.render import tables
from bench.contract import names, settings
from bench.contract.credentials import BoardCredentialsType
from bench.errors import UsageError
from bench.flash import device_config
from bench.flash.device_config import Choices, Claim, Place, Transport
from bench.flash.package import signing
from bench.registry.provision_type import ProvisionType
from bench.rest_client import connectivity, id_of
from bench.rest_client.connectivity import USUAL_PORTS
from bench.server.tls import authority

DeviceKeys = Callable[[Sequence[str]], list[str]]
P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_PROFILE = "default"
_DEFAULT_HOST = "127.0.0.1"


def _option(kind: Any, *names: str, **facts: Any) -> Any:
    """Return the annotation of an option for a board's settings."""
    return Annotated[kind, typer.Option(*names, rich_help_panel="The board's settings", **facts)]


_OPTIONS: common.Options = {
    "server": (
        _option(
            str,
            help="The MQTT server for boards. Default: the host of --url, or the one running on the data folder.",
            metavar="HOST:PORT",
        ),
        "",
    ),
    "provision_port": (
        _option(
            int,
            min=0,
            max=65535,
            metavar="PORT",
            help="With --transport http or coap: the server's port for it. 0: as it says, else the usual one.",
        ),
        0,
    ),
    "tls": (_option(bool, "--tls/--no-tls", help="MQTT and HTTP over TLS."), False),
    "server_ca": (
        _option(
            Path | None, help="With --tls: the server's CA, PEM or DER. Default: the data folder's, without --url."
        ),
        None,
    ),
    "server_name": (
        _option(
            str, metavar="NAME", help="With --tls and an IP address for HOST: a host name in the server's certificate."
        ),
        "",
    ),
    "profile": (_option(str, metavar="NAME", help="The profile whose key and secret the board gets."), DEFAULT_PROFILE),
    "transport": (_option(Transport, help="The protocol of the provisioning request."), Transport.MQTT),
    "credentials": (
        _option(BoardCredentialsType, help="The kind of credentials that the board makes for itself."),
        BoardCredentialsType.ACCESS_TOKEN,
    ),
    "certificate": (_option(Path | None, help="An existing certificate for the board, PEM or DER."), None),
    "key": (_option(Path | None, help="The key of --certificate, PEM or DER."), None),
    "server_made": (
        _option(bool, "--server-made", help="Let the server make the token. A lost answer locks the board out."),
        False,
    ),
    "derived": (
        _option(bool, "--derived", help="With --claim: a token that follows from the board's own secret."),
        False,
    ),
    "claim": (
        _option(
            Claim,
            help="Secret in the request. shared: the profile's, as ThingsBoard requires; device: one for this board "
            "alone; proof: a proof of that one.",
        ),
        Claim.SHARED,
    ),
    "after_refusals": (
        _option(
            int, min=0, max=1000, help="Refused logins in a row before the board provisions itself again. 0: never."
        ),
        0,
    ),
    "update_key": (
        _option(
            str,
            metavar="KEY.pem|HEX",
            help="The key that signs packages for the board, or its public key (bench firmware key). Default: any.",
        ),
        "",
    ),
}

NAMES = tuple(_OPTIONS)
"""The names of the options' parameters."""


@dataclass(frozen=True, kw_only=True)
class BoardTemplate:
    """Everything that boards with the same options share; the files of one board follow from its MAC."""

    place: Place
    chosen: Choices
    key: str = field(repr=False)
    secret: str = field(repr=False)
    pair: dict[str, bytes] = field(repr=False)
    sections: dict[str, dict[str, Any]] = field(repr=False)
    certified_name: str = ""
    """The name that the server makes of the certificate; empty: the board is known by the name that it says."""
    device_keys: DeviceKeys | None = None
    """Returns the own keys of devices, if the profile has a group key; None: they follow from its secret."""

    @property
    def address(self) -> str:
        """The server's address as HOST:PORT."""
        return f"{self.place.host}:{self.place.mqtt_port}"

    @property
    def is_local(self) -> bool:
        """True if only this machine can reach the server."""
        return addresses.is_loopback(self.place.host)

    def files(
        self, board: BoardDefinition, mac: str, *, name: str = "", **sections: dict[str, Any]
    ) -> dict[str, bytes]:
        """Return the files of one board that are not firmware, settings.json among them.

        Args:
            board: Its definition, for pins and Ethernet.
            mac: 12 hex digits.
            name: The device's name on the server; if empty the certificate's, or made from the MAC.
            **sections: Sections that overlay the settings.

        Returns:
            Path on the board -> content.

        Raises:
            UsageError: The firmware would refuse the settings, or the certificate is another device's.
        """
        if self.certified_name and name not in ("", self.certified_name):
            raise UsageError(f"the certificate is {self.certified_name}'s, and not {name}'s: leave out the name")
        name = name or self.certified_name
        (secret,) = self.shown_secrets([name or names.of_mac(mac)])
        text = settings.encode(
            self.sections,
            device_config.wired(board),
            sections,
            {"identity": {"name": name}} if name else {},
            host=self.place.host,
            port=self.place.mqtt_port,
            key=self.key,
            secret=secret,
        )
        ca = {"ca.der": self.place.ca} if self.chosen.tls else {}
        return {**self.pair, **ca, settings.FILE: text}

    def shown_secrets(self, names: Sequence[str]) -> list[str]:
        """Return the secrets that go into the flash of boards with these names."""
        return _shown_secrets(self.chosen.claim, self.secret, self.device_keys, names)


@dataclass(frozen=True, kw_only=True)
class BoardOptions:
    """The options for a board's settings, and the server that the board is for."""

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
    derived: bool
    claim: Claim
    after_refusals: int
    where: ServerOptions
    update_key: str = ""
    is_remote: bool = False
    """The boards are not on this machine, and have a loopback of their own."""

    def prepare_batch(self, *, is_derived: bool) -> BoardTemplate:
        """Check the options of boards whose credentials were made in advance, without a word to any server.

        Args:
            is_derived: The boards derive their tokens from their own secrets, which come with the settings of each.

        Raises:
            UsageError: The options contradict each other, or a board with them could not get online.
        """
        own = {
            "--certificate": self.certificate or self.key,
            "--server-made": self.server_made,
            "--credentials": self.credentials is BoardCredentialsType.X509_CERTIFICATE,
            "--claim": self.claim is not Claim.SHARED,
            "--derived": self.derived,
        }
        if self.where.url and not self.where.saved:
            raise UsageError("--batch goes without a server: leave out --url, and name the boards' with --server")
        if self.where.url:
            return replace(self, where=replace(self.where, url="")).prepare_batch(is_derived=is_derived)
        if given := [option for option, value in own.items() if value]:
            raise UsageError(f"--batch has the boards' credentials: leave out {' and '.join(given)}")
        chosen = Choices(tls=self.tls, kind=BoardCredentialsType.MQTT_BASIC, made_by="flash")
        if is_derived:
            chosen = Choices(tls=self.tls, made_by="claim", claim=Claim.PROOF)
        place = self._place()
        sections = self._sections(place, chosen)
        return BoardTemplate(place=place, chosen=chosen, key="", secret="", pair={}, sections=sections)

    def prepare(self) -> BoardTemplate:
        """Check the options, and query the server for the profile's key and secret.

        Raises:
            UsageError: The options contradict each other, or a board with them could not get online.
            BenchError: The server of --url is not reached as a board would reach it, or would refuse it.
        """
        if (self.certificate is None) != (self.key is None):
            raise UsageError("--certificate and --key go together")
        if self.certificate and self.server_made:
            raise UsageError("--server-made and --certificate exclude each other: choose one")
        if self.derived and (self.certificate or self.server_made):
            raise UsageError("--derived excludes --server-made and --certificate: choose one")
        pair = device_config.pair(self.certificate, self.key) if self.certificate and self.key else {}
        if pair and self.credentials is not BoardCredentialsType.X509_CERTIFICATE:
            raise UsageError("--certificate and --key go with --credentials X509_CERTIFICATE")
        chosen = Choices(
            transport=self.transport,
            tls=self.tls,
            kind=self.credentials,
            made_by="flash" if pair else "server" if self.server_made else "claim" if self.derived else "device",
            claim=self.claim,
            after_refusals=self.after_refusals,
        )
        url = self.where.url
        if url:
            server_addresses.check_one(operator_session.http_url(url), self.server, self.where.data)
        reported = run_on_server(self.where, lambda server: server.endpoints()) if url else {}
        place = self._place(reported)
        if url and self.tls:
            place = board_reach.with_time(place, operator_session.http_url(url))
        sections = self._sections(place, chosen)
        profile = _profile(self.where, self.profile)
        key, secret = _key_and_secret(profile, self.profile, optional=bool(pair))
        keys = None if self.claim is Claim.SHARED or not key else _device_keys(self.where, id_of(profile))
        if url:
            if not key:
                self._check_one_host(operator_session.http_url(url), place.host, reported)
            guessed = (
                "" if self.server or reported else "; the usual ports, as it names its own only once it has a device"
            )
            tables.note(f"the boards' server: {board_reach.shown(place, chosen)}{guessed}")
            board_reach.check(place, chosen, key, lambda name: _shown_secrets(self.claim, secret, keys, [name])[0])
        return BoardTemplate(
            place=place,
            chosen=chosen,
            key=key,
            secret=secret,
            pair=pair,
            sections=sections,
            device_keys=keys,
            certified_name=chain_names.device_name(profile, pair["device.crt"]) if pair else "",
        )

    def _sections(self, place: Place, chosen: Choices) -> dict[str, dict[str, Any]]:
        """Return the sections of settings.json that all boards with these options share."""
        found = device_config.sections(place, chosen, now_s=int(time.time()))
        return found | ({"update": {"key": signing.public_key(self.update_key)}} if self.update_key else {})

    def _place(self, reported: Mapping[str, tuple[str, int]] = MappingProxyType({})) -> Place:
        """Return the server that the board is for, with ports, CA and name from the data folder where that has them.

        Args:
            reported: Host and port by transport, as the server of --url has them.
        """
        data = self.where.data
        url = operator_session.http_url(self.where.url) if self.where.url else None
        running = None if url else server_addresses.running_server(data)
        places = connectivity.places(reported, str(url)) if url else {}
        host, port = self._mqtt(url, running, places)
        provision_port, http_port = self.provision_port, None
        if running:
            http_port = running.http_port
            if not provision_port and self.transport is not Transport.MQTT:
                provision_port = running.port(self.transport, tls=self.tls)
        elif url and (self._is_away(url) or addresses.is_same_host(url.host, host)):
            http_port = board_addresses.clear_port(url)
            provision_port = provision_port or self._provision_port(url, reported)
        elif url and (named := reported.get(self.transport)) and addresses.is_same_host(named[0], host):
            provision_port = provision_port or named[1] * (self.transport is Transport.COAP)
        own = authority.ca_file(data)
        shows_own = not url and own.exists() and (not running or running.ca == own.resolve())
        ca, name = self.server_ca, self.server_name
        if self.tls and not ca and shows_own:
            ca = own
            name = name or next(filter(addresses.is_name, authority.existing(data).names), "")
        return Place(
            host=host,
            mqtt_port=port,
            provision_port=provision_port,
            http_port=http_port,
            ca=device_config.ca(ca) if ca else b"",
            name=name,
        )

    def _mqtt(
        self, url: httpx.URL | None, running: ServerAddresses | None, places: Mapping[str, tuple[str, int]]
    ) -> tuple[str, int]:
        """Return the host and the port of MQTT."""
        if self.server:
            return board_addresses.host_and_port(self.server)
        if url:
            host, port = board_addresses.of_url(url, places, secure=self.tls)
            return board_addresses.of_this_machine(host) if self._is_away(url) else host, port
        if running:
            return running.host, running.port("mqtt", tls=self.tls)
        return _DEFAULT_HOST, USUAL_PORTS["mqtts" if self.tls else "mqtt"]

    def _check_one_host(self, url: httpx.URL, host: str, reported: Mapping[str, tuple[str, int]]) -> None:
        """Raise UsageError if a board without a key, which cannot be tried, would be another server's than its profile.

        A host is of the server of a URL if it is the URL's, or the server names it for devices.
        """
        names = [url.host, *(named for named, _ in reported.values())]
        if self.server and not any(addresses.is_same_host(host, name) for name in names):
            raise UsageError(
                f"two servers for one board: {host} is not the host of {url}: leave out --server, or give the --url of "
                "that one; if they are one server, set its host for devices there (Settings, Device connectivity)"
            )

    def _is_away(self, url: httpx.URL) -> bool:
        """Return whether boards need another name for the host of a URL: it is this machine's alone."""
        return self.is_remote and not self.server and addresses.is_loopback(url.host)

    def _provision_port(self, url: httpx.URL, reported: Mapping[str, tuple[str, int]]) -> int:
        """Return the port of a URL's server for the provisioning request; 0 for the usual one, and over MQTT."""
        if self.transport is Transport.MQTT:
            return 0
        name = "https" if self.tls and self.transport is Transport.HTTP else self.transport.value
        if name in reported and name != url.scheme:  # the port of the URL is known to be right
            return reported[name][1]
        return board_addresses.provision_port(url, tls=self.tls) if self.transport is Transport.HTTP else 0


def with_board_options(command: Callable[Concatenate[BoardOptions, P], T]) -> Callable[..., T]:
    """Add the options above and the server's to a command.

    Args:
        command: Gets the BoardOptions as its first argument.

    Returns:
        The command for typer.
    """

    def made(**given: Any) -> BoardOptions:
        where = operator_session.server_options(**{name: given.pop(name) for name in operator_session.SERVER_OPTIONS})
        return BoardOptions(where=where, **given)

    return common.with_options({**_OPTIONS, **operator_session.SERVER_OPTIONS}, made)(command)


def key_and_secret(where: ServerOptions, profile: str) -> tuple[str, str]:
    """Query a server for the provisioning key and secret of a profile.

    Args:
        where: The server.
        profile: The profile's name.

    Raises:
        UsageError: The profile has no key and secret.
    """
    return _key_and_secret(_profile(where, profile), profile, optional=False)


def _profile(where: ServerOptions, name: str) -> dict[str, Any]:
    return run_on_server(where, lambda server: server.profile(name))


def _device_keys(where: ServerOptions, profile_id: str) -> DeviceKeys | None:
    """Return what queries a server for the own keys of devices; None if the profile has no group key."""
    found = run_on_server(where, lambda server: server.provisioning(profile_id))
    if found is None or not found.get("hasGroupKey"):
        return None
    return lambda names: run_on_server(where, lambda server: server.device_keys(profile_id, names))


def _shown_secrets(claim: Claim, secret: str, device_keys: DeviceKeys | None, names: Sequence[str]) -> list[str]:
    if device_keys is not None:
        return device_keys(names)
    return [device_config.shown_secret(claim, secret, name) for name in names]


def _key_and_secret(found: dict[str, Any], profile: str, *, optional: bool) -> tuple[str, str]:
    """Return the key and secret in a profile; with `optional` empty texts if it has none, instead of an error."""
    key = found.get("provisionDeviceKey")
    secret = ((found.get("profileData") or {}).get("provisionConfiguration") or {}).get("provisionDeviceSecret")
    if key and secret and found.get("provisionType") != ProvisionType.X509_CERTIFICATE_CHAIN:
        return key, secret
    if optional:
        return "", ""
    raise UsageError(f"profile {profile} has no provisioning key and secret: choose another with --profile")
