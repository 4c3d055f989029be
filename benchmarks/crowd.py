"""A crowd of devices that log in over MQTT and stay connected; now and then some of them send a message.

    python -m benchmarks.crowd < job.json

Prints JSON objects, a line each: `{"step": text}` on the way, and at the end its measurements.
Imports nothing that takes long.
"""

import errno
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench import file_limits
from bench.load.usage import resident_bytes
from bench.mqtt.client_packets import ACCEPTED, ACKNOWLEDGED, PING, PONG, connect, publish
from benchmarks.load import percentile

# One local address does not have ports for many more connections to one server.
_PER_ADDRESS = 5000
_KEEP_ALIVE_S = 900  # longer than the run: devices send only what the benchmark measures
_HANG_S = 10.0
_READ_SIZE = 4096
_STEPS = 10
_SETTLE_S = 1.0
_SPARE_FILES = 500

_TELEMETRY = publish("v1/devices/me/telemetry", b'{"temperature":21.5}')


class Device:
    """A device's connection. `wanted` is the expected answer, if any."""

    def __init__(self, number: int, token: str) -> None:
        """Make a device that is not connected.

        Args:
            number: Its number, for its client id and local address.
            token: Its access token.
        """
        self._number = number
        self._token = token
        self._received = b""
        self._since = 0.0
        self.wanted = b""

    def log_in(self, port: int, selector: selectors.BaseSelector) -> None:
        """Begin to connect; `connected` goes on once the selector reports the socket as writable.

        Args:
            port: The server's port on 127.0.0.1.
            selector: The selector at which the socket is registered, with this device as its data.

        Raises:
            OSError: The connection failed at once, or there is no local port.
        """
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.bind((f"127.0.0.{1 + self._number // _PER_ADDRESS}", 0))
        code = self._socket.connect_ex(("127.0.0.1", port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        selector.register(self._socket, selectors.EVENT_WRITE, self)

    def connected(self, selector: selectors.BaseSelector) -> None:
        """Send CONNECT: TCP is connected. Raises OSError if it is not."""
        selector.modify(self._socket, selectors.EVENT_READ, self)
        self.send(connect(f"benchmark-{self._number}", self._token, keep_alive_s=_KEEP_ALIVE_S), ACCEPTED)

    def send(self, message: bytes, wanted: bytes) -> None:
        """Send a message whose answer has to be `wanted`. Raises OSError."""
        self.wanted, self._received = wanted, b""
        self._since = time.perf_counter()
        self._socket.send(message)

    def receive(self) -> float | None:
        """Read what has come.

        Returns:
            The seconds from the message to its answer, or None if the answer is not complete.

        Raises:
            OSError: There was another answer, or the server closed the connection.
        """
        data = self._socket.recv(_READ_SIZE)
        if not data:
            raise ConnectionError("the server closed the connection of an idle device")
        self._received += data
        if self._received == self.wanted:
            self.wanted = b""
            return time.perf_counter() - self._since
        if not self.wanted.startswith(self._received):
            raise ConnectionError(f"the server sent {self._received!r}, not {self.wanted!r}")
        return None


class Crowd:
    """A measurement of devices that are connected to one server."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Make the devices of a job.

        Args:
            job: `port` and `pid` of the server, the devices' `tokens`, the number that log in `at_once`, the number
                of devices in the `sample` that sends messages, and `talking`: the numbers that do so at once.
        """
        self._port: int = job["port"]
        self._server: int = job["pid"]  # whose memory is measured
        self._at_once: int = job["at_once"]  # that log in
        self._sample: int = job["sample"]  # devices that send something
        self._talking: list[int] = job["talking"]  # how many of them at once
        self._selector = selectors.DefaultSelector()
        self._devices = [Device(number, token) for number, token in enumerate(job["tokens"])]

    def run(self) -> dict[str, Any]:
        """Run the job.

        Returns:
            The server's resident memory with one device and with all (`rss_before`, `rss_with`, in bytes; None if
            unknown), `log_in_s` of the `others` beside the first device, and the latencies of `talks` in ms.

        Raises:
            OSError: A connection failed, an answer was wrong or missing, or the server sent something unrequested.
        """
        first, *others = self._devices
        self._log_in([first])  # what the server needs for its first device is not what a device needs
        self._talk([first], 1, PING, PONG)
        self._talk([first], 1, _TELEMETRY, ACKNOWLEDGED)
        before = resident_bytes(self._server)
        start = time.perf_counter()
        self._log_in(others)
        logged_in = time.perf_counter() - start
        time.sleep(_SETTLE_S)
        after = resident_bytes(self._server)
        sample = self._devices[:: max(len(self._devices) // self._sample, 1)][: self._sample]
        talks: dict[str, Any] = {}
        for name, message, wanted in (("ping", PING, PONG), ("telemetry", _TELEMETRY, ACKNOWLEDGED)):
            for at_once in self._talking:
                _log(f"{name} from {len(sample)} of {len(self._devices):,} devices, {at_once} at once")
                took = sorted(self._talk(sample, at_once, message, wanted))
                talks[f"{name} {at_once}"] = {
                    "p50_ms": percentile(took, 50) * 1000,
                    "p99_ms": percentile(took, 99) * 1000,
                }
        if self._selector.select(0):
            raise ConnectionError("the server sent something to an idle device, or closed its connection")
        return {"rss_before": before, "rss_with": after, "log_in_s": logged_in, "others": len(others), "talks": talks}

    def _log_in(self, devices: list[Device]) -> None:
        waiting = iter(devices)
        busy = done = 0
        while done < len(devices):
            while busy < self._at_once and (device := next(waiting, None)):
                device.log_in(self._port, self._selector)
                busy += 1
            for device, events in self._ready():
                if events & selectors.EVENT_WRITE:
                    device.connected(self._selector)
                elif device.receive() is not None:
                    busy -= 1
                    done += 1
                    if done * _STEPS // len(devices) > (done - 1) * _STEPS // len(devices):
                        _log(f"{done:,} of {len(devices):,} devices connected")

    def _talk(self, devices: list[Device], at_once: int, message: bytes, wanted: bytes) -> list[float]:
        """Have each device send a message once, so many at a time; return the seconds until each had its answer."""
        waiting = iter(devices)
        took: list[float] = []
        for _, device in zip(range(at_once), waiting, strict=False):
            device.send(message, wanted)
        while len(took) < len(devices):
            for device, _ in self._ready():
                if (seconds := device.receive()) is not None:
                    took.append(seconds)
                    if following := next(waiting, None):
                        following.send(message, wanted)
        return took

    def _ready(self) -> Iterator[tuple[Device, int]]:
        ready = self._selector.select(_HANG_S)
        if not ready:
            raise TimeoutError(f"no device got an answer within {_HANG_S:.0f} s")
        for key, events in ready:
            yield key.data, events


def _log(text: str) -> None:
    print(json.dumps({"step": text}), flush=True)


if __name__ == "__main__":
    job = json.load(sys.stdin)
    file_limits.allow(len(job["tokens"]) + _SPARE_FILES)
    print(json.dumps(Crowd(job).run()))
