"""The bench's own server, on an event loop in a thread of its own, and what it knows."""

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

from bench.errors import BenchError
from bench.registry import CredentialsType, DeviceView, ProfileView, Registry
from bench.server.journal import Journal
from bench.server.limits import Rules
from bench.server.server import Options, Server

T = TypeVar("T")

_ANSWER_S = 30.0


class RunningServer:
    """A context manager. Its data, and a journal, are in a folder, which may have been used before."""

    profile: ProfileView
    port: int
    """Where it speaks MQTT, to this machine only."""
    time_port: int
    """Where it speaks HTTP, to this machine only: what time it is, for one thing."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._started = threading.Event()
        self._failure: BenchError | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._failure:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def devices(self) -> list[DeviceView]:
        """All there are."""
        return self._ask(lambda registry: registry.devices())

    def forget(self) -> None:
        """Delete every device."""

        async def delete(registry: Registry) -> None:
            for device in await registry.devices():
                await registry.delete_device(device.name)

        self._ask(delete)

    def secrets(self) -> dict[str, str]:
        """What nobody else may ever see: what it is, and its text."""
        found = {"the provisioning secret": self.profile.provision_secret}
        for device in self.devices():
            if text := own_secret(device):
                found[f"what {device.name} logs in with"] = text
        return found

    def _ask(self, question: Callable[[Registry], Awaitable[T]]) -> T:
        async def run() -> T:
            return await question(self._registry)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_ANSWER_S)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        options = Options(
            data=self._data,
            mqtt_port=0,
            mqtts_port=0,
            http_port=0,
            https_port=0,
            coap_port=0,
            limits=Rules(lift_loopback=True),
        )
        journal = os.open(self._data / "server.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(journal, "w") as stream:
            try:
                async with Server(options, Journal(stream)) as server:
                    self._registry = server.registry
                    self.port, self.time_port = server.ports.mqtt, server.ports.http
                    self.profile = await server.registry.profile("default")
                    self._started.set()
                    await self._stop.wait()
            except BenchError as error:
                self._failure = error
                self._started.set()


def own_secret(device: DeviceView) -> str:
    """A device's token or password; "" for a certificate, which is none."""
    credentials = device.credentials
    if credentials.type is CredentialsType.MQTT_BASIC:
        return str(json.loads(credentials.answer).get("password") or "")
    return credentials.id if credentials.type is CredentialsType.ACCESS_TOKEN else ""
