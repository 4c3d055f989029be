"""Where a running server listens: it leaves that in its data folder for other commands."""

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
class Addresses:
    """A running server's, as this machine reaches them. `listens` is the address that it was told to listen on."""

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
        """Where it listens for `mqtt`, `http` or `coap`, which there is no TLS for."""
        secure = tls and transport != "coap"
        found: int = getattr(self, f"{transport}{'s' if secure else ''}_port")
        return found

    @property
    def http(self) -> str:
        """The URL of its HTTP side."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.http_port}"


def of_running(data: Path) -> Addresses | None:
    """Where the server on this data folder listens; None if there is none."""
    path = data / FILE
    if not path.exists() or not _held(data):  # one that was killed leaves its addresses behind
        return None
    found = json.loads(path.read_text())
    ports = {name: found[name] for name in ("mqtt_port", "mqtts_port", "http_port", "https_port", "coap_port")}
    listens = found["host"]
    return Addresses(
        host=_EVERYWHERE.get(listens, listens), listens=listens, pid=found["pid"], ca=Path(found["ca"]), **ports
    )


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """One server a data folder: two would not know of each other's sessions. Raises BenchError."""
    lock = FileLock(data / "server.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise BenchError(f"a server is running on {data} already: stop it, or use another --data") from None
    try:
        yield
    finally:
        lock.release()


def _held(data: Path) -> bool:
    try:
        with alone(data):
            return False
    except BenchError:
        return True
