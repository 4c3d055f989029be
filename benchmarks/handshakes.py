"""Measurement of TLS handshakes: full and resumed, beside OpenSSL's own server and what OpenSSL can compute."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.server.tls.authority import CERTIFICATE, KEY
from benchmarks import processes
from benchmarks.boards import HOST
from benchmarks.report import Figure, Section

_OPENSSL = "openssl"
_PATIENCE_S = 30.0
_POLL_S = 0.05
# Of the output of `openssl speed`: the signatures a second, and the key agreements.
_SIGNATURES = re.compile(r"256 bits ecdsa \(nistp256\) +\S+ +\S+ +([\d.]+)")
_AGREEMENTS = re.compile(r"253 bits ecdh \(X25519\) +\S+ +([\d.]+)")


def measure(seconds: float, step: Callable[[str], None]) -> list[Section]:
    """Measure handshakes one after the other.

    Args:
        seconds: The duration of each kind.
        step: Called with the name of each step before it.

    Returns:
        A table of the handshakes, and one of what a full one has to compute, if there is OpenSSL's program.

    Raises:
        BenchError: The server or the client failed, or what was to be resumed was not.
    """
    section = Section(name="handshakes", title="TLS 1.2 handshakes, one after the other", matrix=True)
    with processes.data_folder() as data, processes.real_server(data) as server:
        for transport, resumed in (("mqtts", False), ("https", False), ("https", True)):
            name = f"{transport.upper()}, {_kind(resumed=resumed)}"
            step(f"handshakes: {name}")
            found = _shake_hands(server.pid, server.ports[transport], server.ca, seconds, resumed=resumed)
            section.rows[name] = _figures(found)
        if shutil.which(_OPENSSL) is None:
            return [section]
        for resumed in (False, True):
            name = f"openssl s_server, {_kind(resumed=resumed)}"
            step(f"handshakes: {name}")
            with _openssl_server(Path(server.ca or data).parent) as (pid, port):
                section.rows[name] = _figures(_shake_hands(pid, port, server.ca, seconds, resumed=resumed))
    step("handshakes: openssl speed")
    return [section, _computing()]


def _kind(*, resumed: bool) -> str:
    return "resumed" if resumed else "full"


def _shake_hands(pid: int, port: int, ca: str | None, seconds: float, *, resumed: bool) -> dict[str, Any]:
    job = {"pid": pid, "port": port, "ca": ca, "seconds": seconds, "resumed": resumed}
    found = processes.client("handshake", job, patience_s=seconds + _PATIENCE_S)
    if found["resumed"] != (found["handshakes"] if resumed else 0):
        raise BenchError(f"of {found['handshakes']} handshakes {found['resumed']} were resumed")
    return found


def _figures(found: dict[str, Any]) -> list[Figure]:
    count = found["handshakes"]
    server_s = found["server_cpu_s"]
    return [
        Figure(name="handshakes", value=count / found["seconds"], unit="1/s"),
        Figure(name="server CPU time", value=None if server_s is None else 1e6 * server_s / count, unit="µs/handshake"),
        Figure(name="client CPU time", value=1e6 * found["client_cpu_s"] / count, unit="µs/handshake"),
    ]


@contextmanager
def _openssl_server(folder: Path) -> Iterator[tuple[int, int]]:
    """Run OpenSSL's own server with the certificate in a folder of `bench serve`; yield its process id and its port."""
    with closing(socket.create_server((HOST, 0))) as probe:
        port = probe.getsockname()[1]
    files = ["-cert", str(folder / CERTIFICATE), "-cert_chain", str(folder / CERTIFICATE), "-key", str(folder / KEY)]
    process = subprocess.Popen(
        [_OPENSSL, "s_server", "-accept", f"{HOST}:{port}", "-quiet", *files],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    with process.stdin, processes.ended(process):
        deadline = time.monotonic() + _PATIENCE_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("openssl s_server did not start")
            time.sleep(_POLL_S)
        yield process.pid, port


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex((HOST, port)) == 0


def _computing() -> Section:
    """Return what a server computes for a full handshake: a signature, and its half of a key agreement, twice."""
    command = [_OPENSSL, "speed", "-seconds", "1", "ecdsap256", "ecdhx25519"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    signatures, agreements = (
        float(found[1]) if (found := pattern.search(output)) else None for pattern in (_SIGNATURES, _AGREEMENTS)
    )
    return Section(
        name="openssl",
        title="OpenSSL on one core",
        rows={
            "openssl speed": [
                Figure(name="signatures, P-256", value=signatures, unit="1/s"),
                Figure(name="key agreements, X25519", value=agreements, unit="1/s"),
            ]
        },
    )
