"""The server in a thread of this process: for tests, and for whatever needs one for a while."""

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
from bench.registry.credentials import CredentialsType
from bench.registry.provision_type import ProvisionType
from bench.registry.registry import ProfileView, Registry
from bench.server.device_api import DeviceApi
from bench.server.journal import Journal
from bench.server.limits import Rules
from bench.server.server import Options, Ports, Server
from bench.server.tls.authority import Identity

T = TypeVar("T")

FREE_PORTS = dict.fromkeys(("mqtt_port", "mqtts_port", "http_port", "https_port", "coap_port"), 0)
"""The options of a server that takes what ports there are."""
_PATIENCE_S = 30.0
_PORTS_S, _POLL_S = 10.0, 0.05


class _RecordingJournal(Journal):
    """The journal, kept; whoever waits for an event is woken."""

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
    """The real server, on a loop in a thread of its own, with its profile `default`. A context manager.

    `options` are those of `bench.server.server.Options`; if none are given it listens on free ports of loopback
    and limits nobody who is on this machine.
    """

    def __init__(self, data: Path, **options: Any) -> None:
        """Start it on a data folder. Raises what keeps it from starting, e.g. BenchError for a port that is taken."""
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
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it again after `stop`, on the ports that it had, which others may have used for a moment meanwhile."""
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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.result(_PATIENCE_S)
        self.options = dataclasses.replace(
            self.options, **{f"{name}_port": port for name, port in dataclasses.asdict(self.ports).items()}
        )

    def stop(self) -> None:
        """Stop it as SIGTERM does. Its ports are free, its records stay."""
        if self.is_running():
            self.secrets()
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_PATIENCE_S)
            if self._thread.is_alive():
                raise BenchError(f"the server did not stop within {_PATIENCE_S:.0f} s")
            self._keep_ports()

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        for each in self._kept:
            each.close()

    def _keep_ports(self) -> None:
        """Have its TCP ports given to nobody while it is stopped. Who connects is refused: nobody listens."""
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
        """Whether it is there."""
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
            self.identity = server.identity
            self.profile = await server.registry.profile("default")
            self._started.set_result(None)
            await self._stop.wait()

    def query(self, question: Callable[[Registry], Awaitable[T]]) -> T:
        """Return the registry's answer to `question`, a coroutine function that runs on the server's own loop.

        Args:
            question: Called with the registry, e.g. `lambda registry: registry.devices()`.

        Raises:
            TimeoutError: There is no answer within 30 s. And whatever the registry raises.
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
        """All devices that it has."""
        return [device.name for device in self.query(lambda registry: registry.devices())]

    def new_profile(self, strategy: ProvisionType) -> ProfileView:
        """Make a profile with a key and a secret of its own."""
        return self.query(lambda registry: registry.create_profile(f"profile-{uuid.uuid4()}", strategy))

    def secrets(self) -> set[str]:
        """Everything that must not be shown: of its profiles, and of the devices that it has or had."""
        if self.is_running():
            self._secrets |= self.query(_secrets)
        return self._secrets

    @property
    def journal_text(self) -> str:
        """Its journal so far, a JSON line an event."""
        return self._journal.text.getvalue()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What it told so far; `ts` is in milliseconds since 1970."""
        return list(self._journal.named[name] if name else self._journal.events)

    def wait_for(self, name: str, *, timeout_s: float = _PATIENCE_S, **fields: Any) -> dict[str, Any]:
        """The first event of this name with these fields, as soon as the server told it. Raises BenchError."""

        def find() -> dict[str, Any] | None:
            return next((event for event in self.events(name) if fields.items() <= event.items()), None)

        with self._journal.written:
            found = self._journal.written.wait_for(find, timeout_s)
        if not found:
            raise BenchError(f"the server told no {name} {fields or ''} within {timeout_s:.0f} s")
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
