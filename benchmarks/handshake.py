"""A client that shakes hands over TLS again and again, one connection after the other.

python -m benchmarks.handshake < job.json > result.json
"""

import json
import os
import socket
import ssl
import sys
import time
from typing import Any

from bench.load.usage import cpu_s
from benchmarks.boards import HOST

_HANG_S = 10.0


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Shake hands for some time.

    Args:
        job: The `port` and `pid` of the server, the file of its `ca`, whether to be `resumed`, and the `seconds`.

    Returns:
        The number of `handshakes`, how many of them were `resumed`, the `seconds`, `client_cpu_s`, and `server_cpu_s`
        (None if unknown).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2  # as MicroPython has it
    context.load_verify_locations(job["ca"])
    session, _ = _shake_hands(context, job["port"], None)
    handshakes = resumed = 0
    before = (os.times(), cpu_s(job["pid"]), time.perf_counter())
    while time.perf_counter() < before[2] + job["seconds"]:
        _, reused = _shake_hands(context, job["port"], session if job["resumed"] else None)
        handshakes += 1
        resumed += reused
    after = (os.times(), cpu_s(job["pid"]), time.perf_counter())
    return {
        "handshakes": handshakes,
        "resumed": resumed,
        "seconds": after[2] - before[2],
        "client_cpu_s": (after[0].user + after[0].system) - (before[0].user + before[0].system),
        "server_cpu_s": None if before[1] is None or after[1] is None else after[1] - before[1],
    }


def _shake_hands(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool]:
    """Connect, shake hands, and say goodbye; return the session, and whether it was resumed."""
    with (
        socket.create_connection((HOST, port), timeout=_HANG_S) as plain,
        context.wrap_socket(plain, server_hostname=HOST, session=session) as tls,
    ):
        found, reused = tls.session, bool(tls.session_reused)
        tls.unwrap()
    return found, reused


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
