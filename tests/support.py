"""What several kinds of tests need: a running server, boards, and the wire as it is."""

import asyncio
import inspect
import io
import json
import socket
import struct
import threading
import uuid
import zlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from cryptography.hazmat.primitives import serialization

from bench.flash import image, settings
from bench.registry import ProfileView, ProvisionType, Registry
from bench.server.device_api import DeviceApi
from bench.server.journal import Journal
from bench.server.limits import Rules
from bench.server.server import Options, Ports, Server
from bench.server.tls.authority import Identity
from bench.targets.virtual import PowerCycle, VirtualBoard
from tests import secrecy

T = TypeVar("T")

# For a module (`pytestmark = on_both_databases`) or a test: once on SQLite, once, among the slow ones, on PostgreSQL.
on_both_databases = pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)

# Waits of the device, short enough for a test and long enough to be told apart.
QUICK = {"base_ms": 20, "cap_ms": 200, "long_ms": 60_000}
PATIENCE_S = 30.0
FREE_PORTS = dict.fromkeys(("mqtt_port", "mqtts_port", "http_port", "https_port", "coap_port"), 0)


class _Notes(Journal):
    """The journal, kept; whoever waits for an event is woken."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        super().__init__(self.text)
        self.written = threading.Condition()

    def write(self, event: str, **fields: Any) -> None:
        with self.written:
            super().write(event, **fields)
            self.written.notify_all()


class RunningServer:
    """The real server, on a loop in a thread of its own, with its profile `default`."""

    def __init__(self, data: Path, **options: Any) -> None:
        self.data = data
        free = {**FREE_PORTS, "limits": Rules(lift_loopback=True)}
        self._options = Options(data=data, **{**free, **options})
        self._journal = _Notes()
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.ports: Ports
        self.profile: ProfileView
        self.registry: Registry
        self.api: DeviceApi
        self.identity: Identity
        self._thread.start()
        assert self._started.wait(PATIENCE_S)

    def _run(self) -> None:
        # ends as asyncio.run does: what was accepted in the last moment is closed, too
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with Server(self._options, self._journal) as server:
            self.ports, self.registry, self.api = server.ports, server.registry, server.api
            self.identity = server.identity
            self.profile = await server.registry.profile("default")
            self._started.set()
            await self._stop.wait()

    def ask(self, question: Callable[[Registry], Awaitable[T]]) -> T:
        """Ask the registry, on the server's own loop."""

        async def run() -> T:
            return await question(self.registry)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE_S)

    def begin(self, what: Callable[[DeviceApi], Any]) -> Future[Any]:
        """Have something done on the server's own loop, and go on."""

        async def run() -> Any:
            begun = what(self.api)
            return await begun if inspect.isawaitable(begun) else begun

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def do(self, what: Callable[[DeviceApi], Any]) -> Any:
        """Have something done on the server's own loop."""
        return self.begin(what).result(PATIENCE_S)

    def device_names(self) -> list[str]:
        return [device.name for device in self.ask(lambda registry: registry.devices())]

    def new_profile(self, strategy: ProvisionType) -> ProfileView:
        return self.ask(lambda registry: registry.create_profile(f"profile-{uuid.uuid4()}", strategy))

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What the server told so far."""
        found = [json.loads(line) for line in self._journal.text.getvalue().splitlines()]
        return [event for event in found if name in ("", event["event"])]

    def wait_for(self, name: str, **fields: Any) -> dict[str, Any]:
        """The first event of this name with these fields, as soon as the server told it."""

        def find() -> dict[str, Any] | None:
            return next((event for event in self.events(name) if fields.items() <= event.items()), None)

        with self._journal.written:
            found = self._journal.written.wait_for(find, PATIENCE_S)
        assert found, f"the server never told {name} {fields}"
        return found

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()
            secrecy.expect_none_said(self.data, self._options.database, self._journal.text.getvalue())


def new_board(
    folder: Path,
    server: RunningServer,
    /,
    *,
    port: int | None = None,
    definition: str = "esp32_generic",
    mac: str = "",
    files: dict[str, bytes] | None = None,
    profile: ProfileView | None = None,
    **sections: dict[str, Any],
) -> VirtualBoard:
    """A blank board that is set up for a server, with quick waits."""
    overlay = {"backoff": QUICK, "session": {"telemetry_s": 1, "timeout_ms": 2000}}
    for section, values in sections.items():
        overlay[section] = {**overlay.get(section, {}), **values}
    profile = profile or server.profile
    assert profile.provision_key
    assert profile.provision_secret
    return VirtualBoard.create(
        folder,
        board=definition,
        mac=mac,
        files=files,
        settings=settings.encode(
            host="127.0.0.1",
            port=port or server.ports.mqtt,
            key=profile.provision_key,
            secret=profile.provision_secret,
            **overlay,
        ),
    )


# How a board provisions itself: transport, and whether the server is spoken to over TLS (CoAP never is).
WAYS = [("mqtt", False), ("mqtt", True), ("http", False), ("http", True), ("coap", False), ("coap", True)]
KINDS = ["ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE"]


def way_settings(server: RunningServer, transport: str, *, tls: bool, kind: str) -> dict[str, dict[str, Any]]:
    """The settings of a board that provisions itself that way, with credentials of that kind."""
    ports = server.ports
    port = {"mqtt": 0, "http": ports.https if tls else ports.http, "coap": ports.coap}[transport]
    return {
        "server": {"port": ports.mqtts if tls else ports.mqtt, "tls": tls, "name": "localhost"},
        "provision": {"transport": transport, "port": port, "credentials": kind},
        "clock": {"ntp": "", "http_port": ports.http},
    }


def ca_file(server: RunningServer) -> dict[str, bytes]:
    """The file that lets a board know the server."""
    assert server.identity.ca
    return {"ca.der": server.identity.ca.public_bytes(serialization.Encoding.DER)}


def steps(power: PowerCycle) -> list[str]:
    """What a board told so far, but for its states."""
    return [event["event"] for event in power.events if event["event"] != "state"]


def states(power: PowerCycle) -> list[str]:
    """The states that a board went through so far."""
    return [event["state"] for event in power.events if event["event"] == "state"]


def vault_slots(board: VirtualBoard) -> list[dict[str, Any]]:
    """The records in a board's vault, newest first. Reads the flash itself, and asserts that nothing is damaged.

    An empty slot is a file whose creation was all that came before a power cut.
    """
    found = []
    for name, raw in image.read_files(board.flash()).items():
        if name.startswith("vault.") and raw:
            magic, sequence, length = struct.unpack_from("<4sIH", raw)
            assert magic == b"FBV1"
            assert len(raw) == 10 + length + 4, f"{name} is torn"
            assert zlib.crc32(raw[:-4]) == struct.unpack("<I", raw[-4:])[0], f"{name} is damaged"
            found.append((sequence, json.loads(raw[10:-4])))
    return [record for _, record in sorted(found, key=lambda slot: slot[0], reverse=True)]


class RawClient:
    """A TCP connection that says exactly these bytes and hears exactly those."""

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer if the connection is closed before."""
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            if not chunk:
                break
            data += chunk
        return data

    def expect(self, data: bytes) -> None:
        assert self.read(len(data)) == data

    def expect_closed(self) -> None:
        """The server closed, and said nothing more."""
        try:
            rest = self.socket.recv(1)
        except ConnectionResetError:
            rest = b""
        assert rest == b""
