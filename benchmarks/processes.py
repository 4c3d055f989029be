"""Processes of a measurement: server, baseline, peer and clients. None outlives its context."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import paths
from bench.errors import BenchError
from bench.server.run.subprocess import ServerProcess
from benchmarks.records import with_registry

TRANSPORTS = ("mqtt", "mqtts", "http", "https", "coap")
# The options of `bench serve` in every measurement, besides its data folder.
SERVER_OPTIONS = ("--lift-limits-for-loopback",)
_CLIENTS = paths.BUILD / "clients"
_STOP_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A process that answers provisioning requests on this machine."""

    pid: int
    ports: dict[str, int]
    """Ports by transport, for the transports that are served."""
    ca: str | None = None
    """The file of the CA to trust over TLS."""
    # Of its profile. The defaults only have the length of real ones, for endpoints that do not check them.
    key: str = "k" * 20
    secret: str = "s" * 20


@contextmanager
def data_folder() -> Iterator[Path]:
    """Make an empty folder, removed afterwards, on the disk of the checkout: memory has no fsync to measure."""
    place = paths.private_folder(paths.CHECKOUT / ".bench")
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=place) as folder:
        yield Path(folder)


@contextmanager
def real_server(data: Path, *, limits: bool = False) -> Iterator[Endpoint]:
    """Run `bench serve --json` on free ports, and end it as an operator would.

    Args:
        data: Its data folder.
        limits: Whether clients on this machine have limits, too.

    Raises:
        BenchError: It did not start, or ended with an error.
    """
    with ServerProcess(data, *(() if limits else SERVER_OPTIONS)) as server:
        profile = with_registry(data, lambda registry: registry.profile("default"))
        yield Endpoint(
            pid=server.pid,
            ports={name: port for name in TRANSPORTS if (port := server.ready.get(f"{name}_port"))},
            ca=server.ready.get("ca"),
            key=profile.provision_key or "",
            secret=profile.provision_secret or "",
        )
    if server.exit_code:
        raise BenchError(f"bench serve ended with {server.exit_code}: {server.log.read_text()[-500:].strip()}")


@contextmanager
def bare_endpoint(folder: Path) -> Iterator[Endpoint]:
    """Run the endpoint of bare.py, with a certificate in `folder`. Raises BenchError if it does not start."""
    with _endpoint("bare", str(folder)) as endpoint:
        yield endpoint


@contextmanager
def amqtt_broker() -> Iterator[Endpoint]:
    """Run the broker of broker.py. Raises BenchError if amqtt is not installed, or the broker does not start."""
    if not (_CLIENTS / "amqtt").is_dir():
        raise BenchError(f"amqtt is not in {_CLIENTS}: make setup puts it there")
    with _endpoint("broker", path=_CLIENTS) as endpoint:
        yield endpoint


def client(
    name: str, job: dict[str, Any], *, patience_s: float, step: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Run a client, and return its result.

    It prints JSON objects, a line each: `{"step": text}` on the way, and at the end its result.

    Args:
        name: Its module in this package.
        job: Its job, which it reads as JSON from its standard input.
        patience_s: Seconds after which it is killed.
        step: Called with the text of each step; None to ignore them.

    Raises:
        BenchError: It ended with an error, or was killed.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{name}"],
            cwd=paths.CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        guard = threading.Timer(patience_s, process.kill)
        guard.start()
        found: dict[str, Any] = {}
        try:
            with process.stdin, process.stdout, ended(process):
                process.stdin.write(json.dumps(job))
                process.stdin.close()
                for line in process.stdout:
                    found = json.loads(line)
                    if step and "step" in found:
                        step(found["step"])
                process.wait()
        finally:
            guard.cancel()
        if process.returncode:
            errors.seek(0)
            reason = errors.read()[-500:] or f"it did not end within {patience_s:.0f} s"
            raise BenchError(f"the {name} client failed: {reason}")
    return found


@contextmanager
def _endpoint(name: str, *arguments: str, path: Path | None = None) -> Iterator[Endpoint]:
    """Run a module that prints its ports. It ends with its standard input, at the latest with this process.

    Args:
        name: The module in this package.
        *arguments: The arguments of its command line.
        path: The folder in which it looks for modules before all others; None for none.

    Raises:
        BenchError: It did not start.
    """
    where = [str(path)] if path else []
    where += [found] if (found := os.environ.get("PYTHONPATH")) else []
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=paths.CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(where)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout, ended(process):
        line = process.stdout.readline()
        if not line:
            raise BenchError(f"the {name} endpoint did not start")
        yield Endpoint(pid=process.pid, **json.loads(line))


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End the process with the context: by SIGTERM, and by SIGKILL if that takes more than 10 s, which raises."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
