"""A load of boards at once that each provision again and again, every time under a new name.

    python -m benchmarks.load < job.json > result.json

Every exchange has a socket of its own and does the steps of a board, one at a time: over
MQTT CONNECT, SUBSCRIBE, PUBLISH, DISCONNECT, over HTTP and CoAP one POST; with TLS a full handshake
first. Imports nothing that takes long.
"""

import json
import os
import selectors
import ssl
import sys
import time
from collections import Counter
from typing import Any

from bench.load.usage import cpu_s
from benchmarks.boards import Board, DatagramBoard, SecureBoard, StreamBoard
from benchmarks.messages import Exchanges

_BOARDS: dict[str, type[Board]] = {
    "mqtt": StreamBoard,
    "mqtts": SecureBoard,
    "http": StreamBoard,
    "https": SecureBoard,
    "coap": DatagramBoard,
}
_CHECK_S = 0.5


class Load:
    """A measurement of boards against one server."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Prepare a job.

        Args:
            job: The `transport`; `port` and `pid` of the server; the file of its `ca`, for TLS; `key` and `secret` of
                its profile; whether answers have to `echo` the requested token; the number of `boards`; `warm_up_s`
                and `seconds`: the durations before and of the measurement.
        """
        transport: str = job["transport"]
        self._board = _BOARDS[transport]
        self.disconnects = transport in ("mqtt", "mqtts")
        self.port: int = job["port"]
        self.echo: bool = job["echo"]  # the answer has to hold the request's own token
        self.tls = _trusting(job["ca"]) if self._board is SecureBoard else None
        self.exchanges = Exchanges(transport, job["key"], job["secret"])
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._boards: int = job["boards"]
        self._warm_up_s: float = job["warm_up_s"]
        self._seconds: float = job["seconds"]
        self._server: int = job["pid"]  # whose CPU time is measured
        self._busy: set[Board] = set()
        self._successes = 0
        self._failures: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._from = self._until = 0.0

    def run(self) -> dict[str, Any]:
        """Run the job.

        Returns:
            `seconds` of the measurement, and in it `exchanges` with their `p50_ms` and `p99_ms`, `client_cpu_s` and
            `server_cpu_s` (None if unknown); `successes` and `failures` (count by reason) of the whole run.
        """
        self._from = time.perf_counter() + self._warm_up_s
        self._until = self._from + self._seconds
        for number in range(self._boards):
            board = self._board(self, number)
            self._busy.add(board)
            board.open()
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
        """Count an answered exchange; its latency only if it ended in the measurement."""
        self._successes += 1
        if self._from <= ended < self._until:
            self._latencies.append(ended - started)

    def ended(self, board: Board, failure: str) -> None:
        """Count an exchange that has ended, and have the board begin the next one if there is time."""
        if failure:
            self._failures[failure] += 1
        if not failure and time.perf_counter() < self._until:
            board.open()
        else:
            self._busy.discard(board)

    def _turn_until(self, moment: float) -> None:
        checked = time.perf_counter()
        while self._busy and (now := time.perf_counter()) < moment:
            for key, events in self.selector.select(min(moment - now, _CHECK_S)):
                key.data.ready(events)
            if now - checked > _CHECK_S:
                checked = now
                for board in list(self._busy):
                    board.check(now)


def _trusting(ca: str) -> ssl.SSLContext:
    """Return a TLS context like a board's: one trusted CA, and TLS 1.2, which MicroPython supports."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca)
    return context


def percentile(ordered: list[float], percent: float) -> float:
    """Return a percentile by the nearest rank.

    Args:
        ordered: Values in ascending order.
        percent: The percentage, from 0 to 100.

    Returns:
        The smallest value that `percent` of the values do not exceed; NaN without values.
    """
    return ordered[max(-int(-len(ordered) * percent // 100) - 1, 0)] if ordered else float("nan")


if __name__ == "__main__":
    print(json.dumps(Load(json.load(sys.stdin)).run()))
