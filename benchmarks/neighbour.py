"""A client of the neighbours measurement: one that behaves and measures its waits, or one that misbehaves.

Reads its job from standard input and prints its result, as `processes.client` has it.
"""

import asyncio
import itertools
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from bench.load.statistics import Summary

HOST = "127.0.0.1"
_KEYS = 9000
_SILENT = 1500
_AT_ONCE = 6
_PAUSE_S = 0.01
_PATIENCE_S = 30.0


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def _packet(first: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while length > 127:
        digits += bytes([length % 128 + 128])
        length //= 128
    return bytes([first]) + digits + bytes([length]) + body


def _connect(username: str) -> bytes:
    return _packet(0x10, _text("MQTT") + b"\x04\x82\0\x3c" + _text(f"neighbour-{username}") + _text(username))


def _telemetry(number: int) -> bytes:
    head = _text("v1/devices/me/telemetry") + (number % 65535 + 1).to_bytes(2, "big")
    return _packet(0x32, head + b'{"a":%d}' % number)


async def exchange(job: dict[str, Any]) -> None:
    """Log in, store a value, and leave: what takes a login, a read and a commit."""
    async with asyncio.timeout(_PATIENCE_S):
        reader, writer = await asyncio.open_connection(HOST, job["ports"]["mqtt"])
        try:
            writer.write(_connect(job["token"]))
            await reader.readexactly(4)
            writer.write(_telemetry(1))
            await reader.readexactly(4)
        finally:
            writer.close()


async def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Return the waits of one board after the other, in ms."""
    waits = []
    end = time.monotonic() + job["seconds"]
    while time.monotonic() < end:
        start = time.perf_counter()
        await exchange(job)
        waits.append(1000 * (time.perf_counter() - start))
        await asyncio.sleep(_PAUSE_S)
    summary = Summary.of(waits)
    assert summary
    return {"p50": summary.p50, "p99": summary.p99}


async def request(job: dict[str, Any], method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Send an HTTP request on a new connection, and return the answer."""
    reader, writer = await asyncio.open_connection(HOST, job["ports"]["http"])
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return await reader.read(-1)
    finally:
        writer.close()


# What one of them does. Each is called again and again, `_AT_ONCE` side by side.


async def reads(job: dict[str, Any]) -> None:
    """Read one key of a device that has thousands."""
    await request(job, "GET", f"/api/v1/{job['bad_token']}/attributes?clientKeys=key-1")


async def all_reads(job: dict[str, Any]) -> None:
    """Read all keys of a device that has thousands."""
    await request(job, "GET", f"/api/v1/{job['bad_token']}/attributes")


async def unreadable(job: dict[str, Any]) -> None:
    """Send a body of 1 MiB that only the lenient parser reads."""
    body = b"{" + b"a:1," * ((1 << 18) - 1) + b"a:1}"
    await request(job, "POST", f"/api/v1/{job['bad_token']}/telemetry", body)


async def wrong_passwords(job: dict[str, Any]) -> None:
    """Log in as an operator with a wrong password."""
    body = json.dumps({"username": "nobody@example.org", "password": "wrong"}).encode()
    await request(job, "POST", "/api/auth/login", body, Content_Type="application/json")


async def handshakes(job: dict[str, Any]) -> None:
    """Shake hands over TLS, and leave."""
    context = ssl.create_default_context(cafile=job["ca"])
    with suppress(OSError):
        _, writer = await asyncio.open_connection(HOST, job["ports"]["mqtts"], ssl=context, server_hostname="localhost")
        writer.close()


_ACTIONS: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
    "reads of one key among 9,000": reads,
    "reads of all 9,000 keys": all_reads,
    "bodies of 1 MiB for the lenient parser": unreadable,
    "operators' logins with a wrong password": wrong_passwords,
    "TLS handshakes": handshakes,
}
SILENT = "connections that say nothing"
KINDS = (*_ACTIONS, SILENT)


async def misbehave(job: dict[str, Any]) -> dict[str, Any]:
    """Do one thing without a pause until the time is over."""
    for part in range(_KEYS // 1000):
        body = json.dumps({f"key-{part * 1000 + n}": n for n in range(1000)}).encode()
        await request(job, "POST", f"/api/v1/{job['bad_token']}/attributes", body)
    print(json.dumps({"step": "ready"}), flush=True)
    if job["kind"] == SILENT:
        return await _stay_silent(job)
    action, count = _ACTIONS[job["kind"]], itertools.count()

    async def repeat() -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await action(job)
            next(count)

    with suppress(TimeoutError):
        async with asyncio.timeout(job["seconds"]):
            await asyncio.gather(*(repeat() for _ in range(_AT_ONCE)))
    return {"done": next(count)}


async def _stay_silent(job: dict[str, Any]) -> dict[str, Any]:
    held = []
    end = time.monotonic() + job["seconds"]
    while time.monotonic() < end:
        if len(held) < _SILENT:
            with suppress(OSError):
                held.append(await asyncio.open_connection(HOST, job["ports"]["mqtt"]))
        else:
            await asyncio.sleep(_PAUSE_S)
    for _, writer in held:
        writer.close()
    return {"done": len(held)}


def main() -> None:
    """Do the job."""
    job = json.loads(sys.stdin.read())
    print(json.dumps(asyncio.run(misbehave(job) if job["kind"] else measure(job))), flush=True)


if __name__ == "__main__":
    main()
