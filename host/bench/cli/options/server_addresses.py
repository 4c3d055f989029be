"""The addresses of a running server, which it leaves in its data folder for other commands."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bench.errors import BenchError

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
