"""The load: so many boards at once that each provision, and provision again under a new name.

    python -m benchmarks.load < job.json > result.json

Every exchange is a TCP connection of its own, and takes the steps that a board takes, one at a time:
over MQTT CONNECT, SUBSCRIBE, PUBLISH, DISCONNECT, over HTTP one POST. Name and token are new each
time. Written on `selectors` with packets made beforehand, because asyncio's connections cost several
times as much: the client must not be what limits the server. Imports nothing but the standard library.
"""

import errno
import json
import os
import selectors
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

_HANG_S = 10.0
_HOST = "127.0.0.1"
_TOKEN_BYTES = 16
_CONNACK = b"\x20\x02\x00\x00"
_SUBACK = b"\x90\x03\x00\x01\x00"
_SUCCESS = b'"status":"SUCCESS"'


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _packet(first: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((first, *length, rest)) + body


_CONNECT = _packet(0x10, _string(b"MQTT") + b"\x04\x82\x00\x3c" + _string(b"benchmark") + _string(b"provision"))
_SUBSCRIBE = _packet(0x82, b"\x00\x01" + _string(b"/provision/response") + b"\x00")
_DISCONNECT = b"\xe0\x00"


class Requests:
    """The last message of each exchange, with a name and a token that nobody had before."""

    def __init__(self, transport: str, key: str, secret: str) -> None:
        tail = json.dumps({"provisionDeviceKey": key, "provisionDeviceSecret": secret})[1:].encode()
        self._tail = b'","credentialsType":"ACCESS_TOKEN",' + tail
        self._made = 0
        body = b"".join(self._body())
        if transport == "mqtt":
            whole = _packet(0x30, _string(b"/provision/request") + body)
        else:
            lines = (
                b"POST /api/v1/provision HTTP/1.1",
                b"Host: 127.0.0.1",
                b"Content-Type: application/json",
                b"Connection: close",
                b"Content-Length: %d" % len(body),
            )
            whole = b"\r\n".join(lines) + b"\r\n\r\n" + body
        self._head = whole[: len(whole) - len(body)]  # the same each time, because all bodies are of one length

    def next(self) -> tuple[bytes, bytes]:
        """`(message, token in it)`."""
        body = self._body()
        return b"".join((self._head, *body)), body[3]

    def _body(self) -> tuple[bytes, ...]:
        self._made += 1
        token = os.urandom(_TOKEN_BYTES).hex().encode()
        return b'{"deviceName":"benchmark-', b"%08d" % self._made, b'","token":"', token, self._tail


class Board:
    """One board: an exchange after the other, until the time is over."""

    def __init__(self, load: "Load") -> None:
        self._load = load

    def open(self) -> None:
        """Begin an exchange."""
        message, self._token = self._load.requests.next()
        if self._load.mqtt:
            self._steps = [(_CONNECT, _CONNACK), (_SUBSCRIBE, _SUBACK), (message, b"")]
        else:
            self._steps = [(message, b"")]
        self._step = 0
        self._heard = b""
        self._started = time.perf_counter()
        self._socket = socket.socket()
        self._socket.setblocking(False)
        code = self._socket.connect_ex((_HOST, self._load.port))
        if code not in (0, errno.EINPROGRESS):
            self._load.selector.register(self._socket, selectors.EVENT_READ, self)
            self._end(f"connect: {os.strerror(code)}")
            return
        try:  # on loopback it is usually connected by now
            self._socket.send(self._steps[0][0])
        except OSError:
            self._load.selector.register(self._socket, selectors.EVENT_WRITE, self)
        else:
            self._load.selector.register(self._socket, selectors.EVENT_READ, self)

    def ready(self, events: int) -> None:
        """The socket is: take the next step."""
        try:
            if events & selectors.EVENT_WRITE:
                self._socket.send(self._steps[0][0])
                self._load.selector.modify(self._socket, selectors.EVENT_READ, self)
                return
            chunk = self._socket.recv(4096)
            if not chunk:
                self._end(f"closed at step {self._step}")
                return
            self._heard += chunk
            wanted = self._steps[self._step][1]
            if not wanted:
                if self._heard.endswith(b"}"):
                    self._judge()
            elif self._heard == wanted:
                self._heard = b""
                self._step += 1
                self._socket.send(self._steps[self._step][0])
            elif not wanted.startswith(self._heard):
                self._end(f"wrong answer at step {self._step}")
        except OSError as error:
            self._end(f"step {self._step}: {type(error).__name__}")

    def _judge(self) -> None:
        now = time.perf_counter()
        if _SUCCESS not in self._heard:
            self._end("not SUCCESS")
        elif self._load.echo and self._token not in self._heard:
            self._end("the answer to another request")
        else:
            if self._load.mqtt:
                self._socket.send(_DISCONNECT)
            self._load.succeeded(self._started, now)
            self._end("")

    def _end(self, failure: str) -> None:
        self._load.selector.unregister(self._socket)
        self._socket.close()
        self._load.ended(self, failure)


class Load:
    """A job: see `__init__` for its keys."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.mqtt = job["transport"] == "mqtt"
        self.port: int = job["port"]
        self.echo: bool = job["echo"]  # the answer has to hold the request's own token
        self.requests = Requests(job["transport"], job["key"], job["secret"])
        self.selector = selectors.DefaultSelector()
        self._boards: int = job["boards"]
        self._warm_up_s: float = job["warm_up_s"]
        self._seconds: float = job["seconds"]
        self._server: int = job["pid"]  # whose CPU time is measured
        self._open = 0
        self._successes = 0
        self._failures: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._from = self._until = 0.0

    def run(self) -> dict[str, Any]:
        """Returns counts, latencies in ms, and CPU seconds of client and server during the measurement."""
        self._from = time.perf_counter() + self._warm_up_s
        self._until = self._from + self._seconds
        for _ in range(self._boards):
            self._open += 1
            Board(self).open()
        self._turn_until(self._from)
        before = (os.times(), cpu_s(self._server), time.perf_counter())
        self._turn_until(self._until)
        after = (os.times(), cpu_s(self._server), time.perf_counter())
        self._turn_until(float("inf"))  # what is under way
        client_s = (after[0].user + after[0].system) - (before[0].user + before[0].system)
        server_s = None if before[1] is None or after[1] is None else after[1] - before[1]
        ordered = sorted(self._latencies)
        return {
            "seconds": after[2] - before[2],
            "exchanges": len(ordered),
            "successes": self._successes,
            "failures": dict(self._failures),
            "p50_ms": percentile(ordered, 50) * 1000,
            "p99_ms": percentile(ordered, 99) * 1000,
            "client_cpu_s": client_s,
            "server_cpu_s": server_s,
        }

    def succeeded(self, started: float, ended: float) -> None:
        """An exchange is answered."""
        self._successes += 1
        if self._from <= ended < self._until:
            self._latencies.append(ended - started)

    def ended(self, board: Board, failure: str) -> None:
        """An exchange is over, well or not: the board begins the next one, if there is time."""
        if failure:
            self._failures[failure] += 1
        if not failure and time.perf_counter() < self._until:
            board.open()
        else:
            self._open -= 1

    def _turn_until(self, moment: float) -> None:
        heard = time.perf_counter()
        while self._open and (now := time.perf_counter()) < moment:
            ready = self.selector.select(min(moment - now, 1.0))
            if ready:
                heard = now
            elif now - heard > _HANG_S:
                raise TimeoutError(f"{self._open} exchanges got no answer within {_HANG_S:.0f} s")
            for key, events in ready:
                key.data.ready(events)


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that `percent` of the (sorted) values do not exceed; NaN of nothing."""
    return ordered[max(-int(-len(ordered) * percent // 100) - 1, 0)] if ordered else float("nan")


def cpu_s(pid: int) -> float | None:
    """CPU time of a process with all its threads, in seconds; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(Load(json.load(sys.stdin)).run()))
