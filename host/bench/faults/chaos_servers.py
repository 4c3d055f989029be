"""Servers of chaos: a `bench serve` of its own, which fails, too, or one elsewhere, whose boards and network fail."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from bench.errors import UsageError
from bench.faults import server_faults
from bench.faults.chaos_checks import RoundFailed
from bench.faults.network.framing import SPOKEN
from bench.faults.network.network import Network
from bench.faults.server_faults import FaultyServerProcess, ServerFault
from bench.flash import device_config
from bench.rest_client import ThingsBoard, id_of
from bench.rest_client.connectivity import Place
from bench.server.tls import authority

T = TypeVar("T")
Query = Callable[[Callable[[ThingsBoard], Awaitable[Any]]], Any]

_PROFILE = "default"
_HOST = "127.0.0.1"
_TIMEOUT_S = 30.0


class ChaosServer(ABC):
    """The server of a round."""

    places: Mapping[str, Place]
    """Host and port by transport."""
    clock: str = ""
    """The transport by which boards get the time; empty: from a time server."""
    key: str
    secret: str
    prefix: str
    """Of the boards' names."""
    ca: bytes
    """The CA of its certificate, DER; empty: boards cannot use TLS."""
    name: str
    """A name in its certificate."""
    secrets: set[str]
    """Texts that nobody may print."""

    @abstractmethod
    def query(self, question: Callable[[ThingsBoard], Awaitable[T]]) -> T:
        """Return the result of `question`, which is called with the server. Raises BenchError."""

    def inject(self, fault: ServerFault, _network: Network) -> AbstractContextManager[None]:
        """Inject a fault until the end of the block, as `server_faults.inject` does."""
        raise UsageError(f"{fault.kind}: only the bench's own server can be made to fail")

    def check(self) -> None:  # noqa: B027 - of a server elsewhere the board shows it, which gets online
        """Raise RoundFailed if the server ended by itself."""

    def printed(self) -> bytes:
        """Return its output since the last time."""
        return b""


class OwnServer(ChaosServer):
    """A `bench serve` in a process of its own, until the end of the block.

    Args:
        data: Its data folder.

    Raises:
        BenchError: It does not start.
    """

    clock = "http"
    prefix = "firstboot"
    name = "localhost"

    def __init__(self, data: Path) -> None:
        """Start it. Raises BenchError."""
        self.process = FaultyServerProcess(data, "--lift-limits-for-loopback")
        self._searched = 0

    def __enter__(self) -> Self:
        ready = self.process.ready
        self.places = {name: (_HOST, int(ready[f"{name}_port"])) for name in SPOKEN}
        self.ca = device_config.ca(authority.ca_file(self.process.data))
        self._account = json.loads((self.process.data / "operator.json").read_bytes())
        try:
            self.key, self.secret = key_and_secret(self.query(lambda server: server.profile(_PROFILE)))
        except BaseException:
            self.process.stop()
            raise
        self.secrets = {self.secret, self.key, self._account["password"]}
        return self

    def __exit__(self, *error: object) -> None:
        self.process.__exit__(*error)

    def inject(self, fault: ServerFault, network: Network) -> AbstractContextManager[None]:
        return server_faults.inject(fault, self.process, network)

    def check(self) -> None:
        if not self.process.is_running():
            raise RoundFailed(f"the server ended by itself; see {self.process.log}")

    def printed(self) -> bytes:
        with self.process.log.open("rb") as log:
            log.seek(self._searched)
            found = log.read()
        self._searched += len(found)
        return found

    def query(self, question: Callable[[ThingsBoard], Awaitable[T]]) -> T:
        async def run() -> T:
            url = f"http://{_HOST}:{self.process.ready['http_port']}"
            async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, trust_env=False) as http:
                return await question(ThingsBoard(http, self._account["username"], self._account["password"]))

        return asyncio.run(run())


class ServerElsewhere(ChaosServer):
    """A server that runs already, with a profile for this run alone. It has no faults of its own.

    Args:
        query: As `ChaosServer.query`.
        profile: The profile, with its key and secret.
        places: Host and port by transport.
        ca: The CA of its certificate, DER; empty without TLS.
        name: A name in its certificate.
    """

    def __init__(
        self, *, query: Query, profile: dict[str, Any], places: Mapping[str, Place], ca: bytes = b"", name: str = ""
    ) -> None:
        """Note what it is; nothing is sent."""
        self._query = query
        self.places = places
        self.ca = ca
        self.name = name
        self.prefix = str(profile["name"])
        self.key, self.secret = key_and_secret(profile)
        self.secrets = {self.secret, self.key}

    def query(self, question: Callable[[ThingsBoard], Awaitable[T]]) -> T:
        found: T = self._query(question)
        return found


async def credentials_of(server: ThingsBoard, name: str) -> list[tuple[str, Any]]:
    """Return the credentials of every device of this name, in the form of `vault.shown`."""
    found = [each for each in await server.devices(name) if each["name"] == name]
    return [_known(await server.credentials(id_of(each))) for each in found]


def key_and_secret(profile: dict[str, Any]) -> tuple[str, str]:
    """Return the key and the secret of a profile that has them."""
    return (
        str(profile["provisionDeviceKey"]),
        str(profile["profileData"]["provisionConfiguration"]["provisionDeviceSecret"]),
    )


def _known(own: dict[str, Any]) -> tuple[str, Any]:
    match own["credentialsType"]:
        case "MQTT_BASIC" as kind:
            return kind, json.loads(own["credentialsValue"])
        case "X509_CERTIFICATE" as kind:
            return kind, own["credentialsValue"]
        case kind:
            return str(kind), own["credentialsId"]
