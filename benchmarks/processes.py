"""The processes of a measurement: the real server, the bare endpoint, the load. None outlives its block."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import house
from bench.cli.records import with_registry
from bench.errors import BenchError

_START_S = 30.0
_STOP_S = 10.0
_POLL_S = 0.005


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Something that answers provisioning requests on this machine. Key and secret: of its profile."""

    pid: int
    ports: dict[str, int]
    """By transport: `mqtt`, `http`."""
    key: str
    secret: str


@contextmanager
def data_folder() -> Iterator[Path]:
    """An empty folder on the disk of the checkout (a memory file system has no fsync to measure)."""
    place = house.private_folder(house.CHECKOUT / ".bench")
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=place) as folder:
        yield Path(folder)


@contextmanager
def real_server(data: Path) -> Iterator[Endpoint]:
    """`bench serve --json` on free ports, ended as an operator would. Raises BenchError if it fails."""
    ready = data / "ready.json"
    options = ("--mqtt-port", "0", "--http-port", "0", "--coap-port", "0", "--ready-file", str(ready))
    command = [sys.executable, "-m", "bench.cli", "serve", "--json", "--data", str(data), *options]
    with (data / "errors.log").open("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        with _ended(process):
            deadline = time.monotonic() + _START_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"bench serve did not start: {_tail(data / 'errors.log')}")
                time.sleep(_POLL_S)
            address = json.loads(ready.read_text())
            profile = with_registry(data, lambda registry: registry.profile("default"))
            yield Endpoint(
                pid=process.pid,
                ports={"mqtt": address["mqtt_port"], "http": address["http_port"]},
                key=profile.provision_key or "",
                secret=profile.provision_secret or "",
            )
        if process.returncode:
            raise BenchError(f"bench serve ended with {process.returncode}: {_tail(data / 'errors.log')}")


@contextmanager
def bare_endpoint() -> Iterator[Endpoint]:
    """The endpoint of bare.py. It ends with its standard input, so with this process at the latest."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare"],
        cwd=house.CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout, _ended(process):
        line = process.stdout.readline()
        if not line:
            raise BenchError("the bare endpoint did not start")
        # in length what a real profile has
        yield Endpoint(pid=process.pid, ports=json.loads(line), key="k" * 20, secret="s" * 20)


def load(job: dict[str, Any], *, patience_s: float) -> dict[str, Any]:
    """Run load.py with this job and return what it measured. Raises BenchError if it did not end well."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load"],
            cwd=house.CHECKOUT,
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=patience_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"the load client did not end within {patience_s:.0f} s") from None
    if done.returncode:
        raise BenchError(f"the load client failed: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End the process with the block, by force if it does not end by itself."""
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


def _tail(path: Path) -> str:
    return path.read_text()[-500:].strip()
