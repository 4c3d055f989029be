"""The provisioning server: a registry, and the transports in front of it."""

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.errors import BenchError
from bench.registry import ProfileView, Registry
from bench.server.coap import CoapServer
from bench.server.device_api import DeviceApi, origin
from bench.server.http.app import application
from bench.server.http.polls import Polls
from bench.server.http.serving import HttpServer
from bench.server.journal import Journal
from bench.server.limits import Limits, Rules
from bench.server.metrics import Metrics
from bench.server.mqtt.listener import CONNECT_DEADLINE_S, Gateway

# For what is in flight when the server is told to stop; it promises to be gone within 5 s.
_GRACE_S = 2.0
_QUEUE = 1024


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where to listen and where to keep the data. Port 0 is any free port."""

    data: Path
    host: str = "127.0.0.1"
    mqtt_port: int = 1883
    http_port: int = 8080
    coap_port: int = 5683
    # How long a connection may take to log in (MQTT) or to send a whole request (HTTP), seconds.
    deadline_s: float = CONNECT_DEADLINE_S
    # Where the records are if not in SQLite in the data folder.
    database: str | None = field(default=None, repr=False)
    limits: Rules = field(default_factory=Rules)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports that are listened on."""

    mqtt: int
    http: int
    coap: int


class Server:
    """`async with Server(options, journal) as server:` listens until the block ends."""

    def __init__(self, options: Options, journal: Journal) -> None:
        self._options = options
        self._journal = journal
        self.new_profile: ProfileView | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as undo:  # what was opened is closed again if the rest fails
            mqtt = undo.enter_context(_listen(self._options.host, self._options.mqtt_port))
            web = undo.enter_context(_listen(self._options.host, self._options.http_port))
            self.registry = await Registry.open(self._options.data, self._options.database)
            undo.push_async_callback(self.registry.close)
            self.new_profile = await self.registry.ensure_default_profile()
            self.metrics = Metrics(lambda: self.registry.commits)
            self.api = DeviceApi(self.registry, self._journal, Limits(self._options.limits), self.metrics)
            self._gateway = Gateway(self.api, connect_deadline_s=self._options.deadline_s)
            self.metrics.watch_connections("mqtt", lambda: len(self._gateway.connections))
            self._coap = await CoapServer.listen(self.api, self._options.host, self._options.coap_port)
            self.metrics.watch_connections("coap", lambda: self._coap.observations)
            loop = asyncio.get_running_loop()
            self._mqtt = await loop.create_server(self._gateway.accept, sock=mqtt, backlog=_QUEUE)
            undo.pop_all()
        polls = Polls()
        self._http = HttpServer(
            application(self.api, polls),
            request_deadline_s=self._options.deadline_s,
            grace_s=_GRACE_S,
            on_malformed=lambda address: self.api.tell("malformed", origin(address, "http")),
            on_stop=polls.end,
        )
        self._http_task = asyncio.create_task(self._http.serve(sockets=[web]))
        self.ports = Ports(mqtt=mqtt.getsockname()[1], http=web.getsockname()[1], coap=self._coap.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._mqtt.close()
        self._http.should_exit = True
        await asyncio.gather(self._gateway.close(_GRACE_S), self._coap.close(_GRACE_S), self._http_task)
        await self.registry.close()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; connections wait in its queue until the server takes them."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BenchError(
            f"cannot listen on {host} port {port} ({error.strerror}): choose another host or port (0 is any free one)"
        ) from error
    listener.listen(_QUEUE)
    return listener
