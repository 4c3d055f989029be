"""The provisioning server: a registry, and the transports in front of it."""

import asyncio
import socket
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from bench import file_limits
from bench.contract import broker_topics
from bench.contract.releases import NEWEST, Release
from bench.errors import BenchError, UsageError
from bench.registry.registry import Registry
from bench.registry.retention import Retention
from bench.registry.views import ProfileView
from bench.server import accounts, lateness, pruning
from bench.server.accepting import Accept, Listener, Tls
from bench.server.broker.access import BrokerAccess
from bench.server.broker.cut_off import BrokerManagement, CutOff
from bench.server.coap import CoapServer
from bench.server.connections import CONNECTIONS, Bounds, Connections, Slot
from bench.server.device_api import DeviceApi, origin
from bench.server.endpoints import Endpoints, Ports
from bench.server.hooks.entry_points import EntryPoints
from bench.server.hooks.pre_provision import Approval, PreProvision
from bench.server.http.app import application
from bench.server.http.polls import Polls
from bench.server.http.uvicorn_server import CONNECTION_QUEUE, HttpServer, HttpTimeouts
from bench.server.journal import Journal
from bench.server.limits import Limits, Rules
from bench.server.metrics import ServerMetrics
from bench.server.mqtt.listener import CONNECT_DEADLINE_S, Gateway
from bench.server.mqtt.proxy_protocol import ProxiedConnection
from bench.server.tls import authority, renewal
from bench.server.tls.authority import Identity
from bench.server.tls.contexts import https_context, mqtt_context, reload
from bench.server.trusted_proxies import TrustedProxies

# For what is in flight when the server is stopped; it promises to be gone within 5 s.
_GRACE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """Addresses to listen on, the data folder, and certificates. Port 0 is any free port."""

    data: Path
    host: str = "127.0.0.1"
    mqtt_port: int = 1883
    mqtts_port: int = 8883
    http_port: int = 8080
    https_port: int = 8443
    coap_port: int = 5683
    # Names and addresses of this machine for its certificate, besides localhost and 127.0.0.1.
    hostnames: tuple[str, ...] = ()
    # The user's own certificate and key instead of ours, and a CA that has to have signed devices' certificates.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    # The time to log in (MQTT) or to send a whole request (HTTP), seconds.
    deadline_s: float = CONNECT_DEADLINE_S
    # The URL of a database that holds the records, instead of SQLite in the data folder.
    database: str | None = field(default=None, repr=False)
    limits: Rules = field(default_factory=Rules)
    # The release of ThingsBoard whose answers are given, where they differ.
    like: Release = NEWEST
    # Late in what a production server is late in: see `lateness`.
    like_production: bool = False
    # Addresses and networks of proxies that are believed what they say of a client's address.
    trusted_proxies: tuple[str, ...] = ()
    retention: Retention = field(default_factory=Retention)
    # Seconds between two looks at the certificate's files.
    certificate_every_s: float = 60.0
    # Origins (`https://console.example`) whose web pages may use the HTTP APIs; `*` is any.
    cors_origins: tuple[str, ...] = ()
    # The first levels of devices' topics at the user's own broker.
    topic_prefix: str = broker_topics.PREFIX
    # The management API of that broker, which is told whom to cut off; None if it is told nothing.
    broker: BrokerManagement | None = None
    # The hook that may refuse devices; None if there is none.
    pre_provision: PreProvision | None = None
    # Connections over TCP at once, all together; fewer where fewer files may be open.
    connections: int = CONNECTIONS


class Server:
    """A server that listens while the block runs: `async with Server(options, journal) as server:`.

    Raises BenchError on entering: a port is taken, or the data folder or a certificate cannot be used.
    """

    def __init__(self, options: Options, journal: Journal) -> None:
        self._options = options
        self._journal = journal
        self.new_profile: ProfileView | None = None

    async def __aenter__(self) -> Self:
        options, journal = self._options, self._journal
        proxies = self._proxies = TrustedProxies(options.trusted_proxies)
        async with AsyncExitStack() as undo:  # what was opened is closed again if the rest fails
            sockets = {
                name: undo.enter_context(_listen(options.host, getattr(options, f"{name}_port")))
                for name in ("mqtt", "mqtts", "http", "https")
            }
            self.registry = await Registry.open(options.data, options.database, options.like)
            undo.push_async_callback(self.registry.close)
            self.new_profile = await self.registry.ensure_default_profile()
            await accounts.ensure_first(self.registry, options.data)
            self.identity = _identity(options)
            self.metrics = ServerMetrics(lambda: self.registry.commits)
            limits = Limits(options.limits)
            await accounts.remember_logins(self.registry, limits)
            late = lateness.PRODUCTION if options.like_production else lateness.NONE
            self.api = DeviceApi(self.registry, journal, limits, self.metrics, late)
            await self.api.calls.load()
            self.api.approval = Approval(options.pre_provision, options.data, journal)
            self.connections = Connections(
                Bounds.of(options.connections, file_limits.free()), journal, is_exempt=self._is_exempt
            )
            self._gateway = Gateway(self.api, connect_deadline_s=options.deadline_s)
            self._coap = await CoapServer.listen(self.api, options.host, options.coap_port)
            undo.push_async_callback(self._coap.close, 0)
            self._watch_numbers()
            contexts = https_context(self.identity), mqtt_context(self.identity, options.tls_client_ca)
            tls = {
                "mqtts": Tls(contexts[1], options.deadline_s, _GRACE_S),
                "https": Tls(contexts[0], options.deadline_s, _GRACE_S),
            }
            self._activity = asyncio.create_task(self.api.activity.run())
            undo.pop_all()
        polls = Polls()
        self.ports = Ports(**{name: each.getsockname()[1] for name, each in sockets.items()}, coap=self._coap.port)
        endpoints = Endpoints(self.ports, lambda: self.identity)
        access = BrokerAccess(self.api, options.topic_prefix, options.limits)
        app = application(self.api, polls, endpoints, proxies, cors_origins=options.cors_origins, access=access)
        self._http = {
            name: HttpServer(
                app,
                HttpTimeouts(request_s=options.deadline_s, stop_s=_GRACE_S),
                on_malformed=lambda address: self.api.refusals.log("malformed", origin(address, "http")),
                on_stop=polls.end,
            )
            for name in ("http", "https")
        }
        self._http_tasks = [asyncio.create_task(server.serve(sockets=[])) for server in self._http.values()]

        def use(identity: Identity) -> None:
            reload(*contexts, identity, options.tls_client_ca)
            self.identity = identity
            self._note_certificate()

        self._note_certificate()
        self._hooks = EntryPoints(self.registry.feed, journal)
        every_s = options.certificate_every_s
        running = (
            renewal.watch(self.identity, lambda: _identity(options), use, self._journal, every_s=every_s),
            pruning.run(self.registry, options.retention, self._journal, self.metrics),
            self.api.calls.run(),
            self.api.packages.run(),
            self.api.rollouts.run(),
            self.api.other_servers.run(),
            self.api.webhooks.run(),
            self._end_at_broker(),
        )
        self._tasks = [asyncio.create_task(each) for each in running]
        accept: dict[str, Accept] = {"mqtt": self._gateway.accept, "mqtts": self._gateway.accept}
        if proxies:
            accept = {name: self._behind_proxies(proxies, tls.pop(name, None)) for name in accept}
        accept |= {name: server.accept for name, server in self._http.items()}
        self._listeners = [
            Listener(each, accept[name], self.connections, tls.get(name)) for name, each in sockets.items()
        ]
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        return self

    def _watch_numbers(self) -> None:
        metrics, journal = self.metrics, self._journal
        metrics.watch_total(
            "journal_lost", "Events that could not be told: the output is full, slow or gone.", lambda: journal.lost
        )
        metrics.watch_total(
            "connections_refused",
            "Connections that were closed because there were too many.",
            lambda: self.connections.refused,
        )
        for transport in ("mqtt", "mqtts"):
            metrics.watch_connections(transport, partial(self._gateway.count, transport))
        metrics.watch_connections("coap", lambda: self._coap.observations)

    async def _end_at_broker(self) -> None:
        """Have the broker, if there is one, end the connections of those who may not be there any more."""
        if self._options.broker is not None:
            cut_off = CutOff(self._options.broker, self._journal)
            self.registry.changes.listen_withdrawals(cut_off.put)
            await cut_off.run()

    def _note_certificate(self) -> None:
        self.metrics.certificate(self.identity.certificate.not_valid_after_utc.timestamp())

    def _behind_proxies(self, proxies: TrustedProxies, tls: Tls | None) -> Accept:
        """Return what accepts MQTT connections where those of proxies begin with a header of the PROXY protocol."""

        def on_malformed(address: str) -> None:
            self.api.refusals.log("malformed", origin(address, "mqtt"), detail="no header of the PROXY protocol")

        def accept(slot: Slot) -> asyncio.BaseProtocol:
            make = partial(self._gateway.accept, slot)
            return ProxiedConnection(
                proxies, make, tls, self._options.deadline_s, on_malformed=on_malformed, on_lost=slot.release
            )

        return accept

    def _is_exempt(self, address: str) -> bool:
        return address in self._proxies or self.api.limits.place(address) is None

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of what nobody caught; asyncio would write it to standard error, however often it comes."""
        error = context.get("exception")
        self._journal.write_rarely("failure", kind=type(error).__name__, where="asyncio")

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        for server in self._http.values():
            server.stop()
        await asyncio.gather(self._gateway.close(_GRACE_S), self._coap.close(_GRACE_S), *self._http_tasks)
        self.api.activity.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await self.api.late_store.drain()
                await self.api.calls.drain()
                await self._activity
        self.connections.abort_all()
        await self.registry.close()
        await self._hooks.close()
        if self.api.approval is not None:
            await self.api.approval.close()


def _identity(options: Options) -> Identity:
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    if options.tls_cert and options.tls_key:
        return authority.load(options.tls_cert, options.tls_key)
    return authority.ensure(options.data, (*authority.DEFAULT_NAMES, *options.hostnames))


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; connections wait in its queue until the server accepts them."""
    # TCP by name: asyncio switches Nagle's algorithm off only then, and an answer of two writes waits 40 ms with it
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BenchError(
            f"cannot listen on {host} port {port} ({error.strerror}): choose another host or port (0 is any free one)"
        ) from error
    listener.setblocking(False)
    listener.listen(CONNECTION_QUEUE)
    return listener
