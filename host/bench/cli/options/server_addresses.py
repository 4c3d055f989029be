"""The addresses of a running server, which it leaves in its data folder for other commands."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from bench import addresses
from bench.errors import BenchError, UsageError

FILE = "server.json"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not listened on


@dataclass(frozen=True, kw_only=True)
class ServerAddresses:
    """Addresses of a running server, as this machine reaches them. `listens` is the configured listening address."""

    host: str
    listens: str
    mqtt_port: int
    mqtts_port: int
    http_port: int
    https_port: int
    coap_port: int
    pid: int
    ca: Path
    """The PEM file with its CA, or with its certificate if that is the user's own."""

    def port(self, transport: str, *, tls: bool) -> int:
        """Return the port for `mqtt`, `http` or `coap`; CoAP has one port, without TLS."""
        secure = tls and transport != "coap"
        found: int = getattr(self, f"{transport}{'s' if secure else ''}_port")
        return found

    def is_at(self, host: str) -> bool:
        """Return whether a host is this server's: as it listens, or a loopback."""
        return host in (self.host, self.listens) or addresses.is_loopback(host)

    @property
    def http(self) -> str:
        """The URL of the HTTP listener."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.http_port}"


def running_server(data: Path) -> ServerAddresses | None:
    """Return the addresses of the server that runs on a data folder, or None."""
    path = data / FILE
    if not path.exists() or not _is_locked(data):  # one that was killed leaves its addresses behind
        return None
    found = json.loads(path.read_text())
    ports = {name: found[name] for name in ("mqtt_port", "mqtts_port", "http_port", "https_port", "coap_port")}
    listens = found["host"]
    return ServerAddresses(
        host=_EVERYWHERE.get(listens, listens), listens=listens, pid=found["pid"], ca=Path(found["ca"]), **ports
    )


def check_one(url: httpx.URL, server: str, data: Path) -> None:
    """Check that a URL and a board's server are not two: the data folder's own in an address, another in the URL.

    Any other server may have hosts and ports of its own for boards; whether it knows the profile's key shows that.

    Args:
        url: The server that gives the key and secret.
        server: The boards' server as HOST:PORT; empty: it follows from the URL.
        data: The data folder.

    Raises:
        UsageError: They are two servers.
    """
    running = running_server(data) if server else None
    if not running:
        return
    host, _, port = server.rpartition(":")
    is_boards = running.is_at(host) and port in (str(running.mqtt_port), str(running.mqtts_port))
    if is_boards and not (running.is_at(url.host) and url.port in (running.http_port, running.https_port)):
        raise UsageError(
            f"two servers for one board: {server} is the one running on {data}, and {url} gives the key: "
            "leave out --server for boards of --url, or --url for boards of that one"
        )


@contextmanager
def lock_folder(data: Path) -> Iterator[None]:
    """Lock a data folder for one server: two would not know of each other's sessions.

    Raises:
        BenchError: Another server has it.
    """
    lock = FileLock(data / "server.lock", mode=0o600, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise BenchError(f"a server is running on {data.resolve()} already: stop it, or use another --data") from None
    try:
        yield
    finally:
        lock.release()


def _is_locked(data: Path) -> bool:
    try:
        with lock_folder(data):
            return False
    except BenchError:
        return True
