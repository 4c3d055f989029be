"""Devices that fetch a package over MQTT, all at once, a part after the other, and again when they have it.

    python -m benchmarks.fetches < job.json

Prints JSON objects, a line each: `{"step": text}` once all are logged in, and at the end its measurements.
Imports nothing that takes long.
"""

import json
import selectors
import socket
import sys
import time
from typing import Any

from bench import file_limits
from bench.load.usage import cpu_s
from bench.mqtt.client_packets import ACCEPTED, GRANTED, connect, packet, publish, subscribe, text
from benchmarks.load import percentile

_SPARE_FILES = 100
_HANG_S = 30.0
_READ_SIZE = 1 << 17
_PER_ADDRESS = 5000
_SUBSCRIBE = subscribe(1, ("v2/fw/response/+/chunk/+", 0))


class Device:
    """A device and its connection. `parts` and `packages` count what it has got."""

    def __init__(self, number: int, token: str, job: dict[str, Any]) -> None:
        """Make a device that is not connected.

        Args:
            number: Its number.
            token: Its access token.
            job: The `part` size and the `size` of the package, in bytes.
        """
        self._number, self._token = number, token
        self._part: int = job["part"]
        self._count = -(-job["size"] // self._part)
        self._last = job["size"] - (self._count - 1) * self._part
        self._wanted = self._got = 0
        self._steps = [(connect(f"fetch-{number}", token), len(ACCEPTED)), (_SUBSCRIBE, len(GRANTED))]
        self._since, self._is_fetching = 0.0, False
        self.parts = self.packages = 0
        self.took: list[float] = []

    def open(self, port: int, selector: selectors.BaseSelector) -> None:
        """Connect, and begin to log in. Raises OSError."""
        self._socket = socket.create_connection(("127.0.0.1", port), source_address=(self._address, 0))
        self._socket.setblocking(False)
        selector.register(self._socket, selectors.EVENT_READ, self)
        self._send(*self._steps.pop(0))

    @property
    def _address(self) -> str:
        return f"127.0.0.{1 + self._number // _PER_ADDRESS}"

    @property
    def is_ready(self) -> bool:
        """True once it is logged in, and has not yet asked for a part."""
        return not self._steps and not self._wanted

    def fetch(self) -> None:
        """Ask for the next part."""
        self._is_fetching = True
        at = self.parts % self._count
        topic = f"{self.packages % 9}/chunk/{at}"
        size = self._last if at == self._count - 1 else self._part
        expected = len(packet(0x30, text(f"v2/fw/response/{topic}") + bytes(size)))
        self._send(publish(f"v2/fw/request/{topic}", str(self._part).encode(), qos=0), expected)

    def receive(self) -> None:
        """Read what has come. Raises OSError if the server closed the connection."""
        data = self._socket.recv(_READ_SIZE)
        if not data:
            raise ConnectionError("the server closed the connection of a device that fetches a package")
        self._got += len(data)
        if self._got < self._wanted:
            return
        self._wanted = 0
        if self._steps:
            self._send(*self._steps.pop(0))
        elif self._is_fetching:
            self.took.append(time.perf_counter() - self._since)
            self.parts += 1
            self.packages = self.parts // self._count
            self.fetch()

    def _send(self, message: bytes, wanted: int) -> None:
        self._wanted, self._got, self._since = wanted, 0, time.perf_counter()
        self._socket.send(message)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job.

    Args:
        job: `port` and `pid` of the server, the devices' `tokens`, `part`, `size`, and `seconds` of the measurement.

    Returns:
        `packages` and `parts` that were fetched in `seconds`, `p50_ms` and `p99_ms` of a part, and `server_cpu_s`.

    Raises:
        OSError: The server closed a connection, or did not answer.
    """
    selector = selectors.DefaultSelector()
    devices = [Device(number, token, job) for number, token in enumerate(job["tokens"])]
    for each in devices:
        each.open(job["port"], selector)
    while not all(each.is_ready for each in devices):
        _turn(selector)
    print(json.dumps({"step": "fetching"}), flush=True)
    before, start = cpu_s(job["pid"]), time.perf_counter()
    for each in devices:
        each.fetch()
    while time.perf_counter() - start < job["seconds"]:
        _turn(selector)
    seconds, after = time.perf_counter() - start, cpu_s(job["pid"])
    took = sorted(each for device in devices for each in device.took)
    return {
        "seconds": seconds,
        "parts": len(took),
        "packages": len(took) * job["part"] / job["size"],
        "fewest": min(each.parts for each in devices),
        "most": max(each.parts for each in devices),
        "p50_ms": percentile(took, 50) * 1000,
        "p99_ms": percentile(took, 99) * 1000,
        "server_cpu_s": None if before is None or after is None else after - before,
    }


def _turn(selector: selectors.BaseSelector) -> None:
    ready = selector.select(_HANG_S)
    if not ready:
        raise TimeoutError(f"no device got an answer within {_HANG_S:.0f} s")
    for key, _ in ready:
        key.data.receive()


if __name__ == "__main__":
    found = json.load(sys.stdin)
    file_limits.allow(len(found["tokens"]) + _SPARE_FILES)
    print(json.dumps(run(found)))
