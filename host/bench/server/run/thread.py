"""The server in a thread of this process: for tests, and for the conformance suite."""

import asyncio
import dataclasses
import inspect
import io
import json
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

from bench.contract.credentials import CredentialsType
from bench.errors import BenchError
from bench.registry.provision_type import ProvisionType
from bench.registry.registry import Registry
from bench.registry.views import ProfileView
from bench.server.connections import Connections
from bench.server.device_api import DeviceApi
from bench.server.endpoints import Ports
from bench.server.journal import Journal
from bench.server.limits import Rules
from bench.server.run.event_loop import new_event_loop
from bench.server.server import Options, Server
from bench.server.tls.authority import Identity

T = TypeVar("T")

FREE_PORTS = dict.fromkeys(("mqtt_port", "mqtts_port", "http_port", "https_port", "coap_port"), 0)
"""The options of a server on any free ports."""
_PATIENCE_S = 30.0
_PORTS_S, _POLL_S = 10.0, 0.05


class _RecordingJournal(Journal):
    """A journal that keeps its events; waiting threads are woken by each."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        super().__init__(self.text)
        self.written = threading.Condition()
        self.events: list[dict[str, Any]] = []
        self.named: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def write(self, event: str, **fields: Any) -> None:
        with self.written:
            before = self.text.tell()
            super().write(event, **fields)
            self.text.seek(before)
            self.events.append(json.loads(self.text.read()))
            self.named[event].append(self.events[-1])
            self.written.notify_all()


class RunningServer:
    """The real server, on a loop in a thread of its own, with its profile `default`, until the end of the block.

    Args:
        data: Its data folder.
        options: Those of `bench.server.server.Options`; by default it listens on free ports of loopback, and has no
            limits for callers on this machine.

    Raises:
        BenchError: It cannot start, e.g. because a port is taken.
    """

    def __init__(self, data: Path, **options: Any) -> None:
        """Start the server. Raises BenchError."""
        self.data = data
        self.options = Options(data=data, **{**FREE_PORTS, "limits": Rules(lift_loopback=True), **options})
        self._journal = _RecordingJournal()
        self._secrets: set[str] = set()
        self._kept: list[socket.socket] = []
        self.ports: Ports
        self.profile: ProfileView
        self.registry: Registry
        self.api: DeviceApi
        self.identity: Identity
        self.connections: Connections
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server again after `stop`, on the same ports, which others may have used for a moment meanwhile.

        Raises:
            BenchError: It cannot start, or a port is taken for more than 10 s.
        """
        deadline = time.monotonic() + _PORTS_S
        while True:
            try:
                self._start()
            except BenchError:
                if not self._kept or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                break
        for each in self._kept:
            each.close()
        self._kept = []

    def _start(self) -> None:
        self._started: Future[None] = Future()
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.result(_PATIENCE_S)
        self.options = dataclasses.replace(
            self.options, **{f"{name}_port": port for name, port in dataclasses.asdict(self.ports).items()}
        )

    def stop(self) -> None:
        """Stop the server as SIGTERM does. Its ports are free, its records stay.

        Raises:
            BenchError: It does not stop within 30 s.
        """
        if self.is_running():
            self.secrets()
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_PATIENCE_S)
            if self._thread.is_alive():
                raise BenchError(f"the server did not stop within {_PATIENCE_S:.0f} s")
            self._keep_ports()

    def close(self) -> None:
        """Stop the server for good."""
        self.stop()
        for each in self._kept:
            each.close()

    def _keep_ports(self) -> None:
        """Have its TCP ports given to no one while it is stopped. Connections are refused: nothing listens."""
        for name in ("mqtt", "mqtts", "http", "https"):
            kept = socket.socket(socket.AF_INET6 if ":" in self.options.host else socket.AF_INET, socket.SOCK_STREAM)
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the server binds it beside us
            try:
                kept.bind((self.options.host, getattr(self.ports, name)))
            except OSError:  # somebody was faster, which `start` waits for
                kept.close()
            else:
                self._kept.append(kept)

    def is_running(self) -> bool:
        """Return whether the server runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        # ends as asyncio.run does: what was accepted in the last moment is closed, too
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with Server(self.options, self._journal) as server:
            self.ports, self.registry, self.api = server.ports, server.registry, server.api
            self.identity, self.connections = server.identity, server.connections
            self.profile = await server.registry.profile("default")
            self._started.set_result(None)
            await self._stop.wait()

    def query(self, question: Callable[[Registry], Awaitable[T]]) -> T:
        """Return the registry's answer to `question`, a coroutine function that runs on the server's own loop.

        Args:
            question: Called with the registry, e.g. `lambda registry: registry.devices()`.

        Raises:
            TimeoutError: No answer comes within 30 s. Besides, whatever the registry raises.
        """

        async def run() -> T:
            return await question(self.registry)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_PATIENCE_S)

    def submit(self, action: Callable[[DeviceApi], Any]) -> Future[Any]:
        """Start `action`, a function or a coroutine function, on the server's own loop; return its future."""

        async def run() -> Any:
            started = action(self.api)
            return await started if inspect.isawaitable(started) else started

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def call(self, action: Callable[[DeviceApi], Any]) -> Any:
        """Run `action` as `submit` does, and return its result. Raises TimeoutError after 30 s."""
        return self.submit(action).result(_PATIENCE_S)

    def device_names(self) -> list[str]:
        """Return the names of all its devices."""
        return [device.name for device in self.query(lambda registry: registry.devices())]

    def new_profile(self, strategy: ProvisionType) -> ProfileView:
        """Store a profile with a key and a secret of its own, and return it."""
        return self.query(lambda registry: registry.create_profile(f"profile-{uuid.uuid4()}", strategy))

    def secrets(self) -> set[str]:
        """Return all secrets: of its profiles, and of the devices that it has or had."""
        if self.is_running():
            self._secrets |= self.query(_secrets)
        return self._secrets

    @property
    def journal_text(self) -> str:
        """Its journal so far, one JSON line an event."""
        return self._journal.text.getvalue()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the events so far, or those of this name; `ts` is in milliseconds since the epoch."""
        return list(self._journal.named[name] if name else self._journal.events)

    def wait_for(self, name: str, *, timeout_s: float = _PATIENCE_S, **fields: Any) -> dict[str, Any]:
        """Wait for an event in the journal, and return the first one.

        Args:
            name: Its name.
            timeout_s: How long to wait, in seconds.
            fields: The fields that it must have.

        Raises:
            BenchError: None comes in time.
        """

        def find() -> dict[str, Any] | None:
            return next((event for event in self.events(name) if fields.items() <= event.items()), None)

        with self._journal.written:
            found = self._journal.written.wait_for(find, timeout_s)
        if not found:
            raise BenchError(f"the server did not report {name} {fields or ''} within {timeout_s:.0f} s")
        return found


async def _secrets(registry: Registry) -> set[str]:
    found = {each.provision_secret for each in await registry.profiles()}
    for device in await registry.devices():
        own = device.credentials
        if own.type is CredentialsType.ACCESS_TOKEN:
            found.add(own.id)
        elif own.type is CredentialsType.MQTT_BASIC:
            found.add(json.loads(own.value or "{}").get("password") or "")
    return found - {""}
