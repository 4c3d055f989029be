"""An MQTT connection: cuts its bytes into packets and hands them to a session, one at a time."""

import asyncio
import math
from collections import deque
from datetime import UTC, datetime
from typing import Protocol, cast

from bench.mqtt import codec
from bench.mqtt.codec import Connect, MalformedPacket, Packet, ReasonCode, ReturnCode, UnacceptableLevel
from bench.registry.audit import Origin
from bench.registry.chains import Chain
from bench.registry.clock import now_ms
from bench.registry.logins import KnownDevice
from bench.server import device_api
from bench.server.connections import Slot
from bench.server.device_api import DeviceApi
from bench.server.mqtt import versions
from bench.server.mqtt.login import LoginHandler
from bench.server.mqtt.session import Handling, Holder, MqttSession
from bench.server.mqtt.versions import LoginRefused
from bench.server.tls import chain

# A session that is silent for so long is closed, whatever its keep-alive.
_INACTIVITY_S = 600.0
# MQTT 3.1.1, 3.1.2.10, and MQTT 5, 3.1.2.10: a server has to close after one and a half times the keep-alive.
# (Upstream does not.)
_KEEP_ALIVE_GRACE = 1.5
# How long a peer that is closed may take to read what was queued for it.
_LINGER_S = 10.0
# Packets of one connection that may wait for the one being handled, before it is not read from any more.
_BACKLOG = 32
# Likewise bytes: 32 packets may have 2 MiB.
_BACKLOG_BYTES = 1 << 16
# Packets in a row that one connection may have handled before the others get their turn.
_TURN = 32
# A peer's packets are not handled while it does not read; but calls and attributes come all the same.
_UNREAD_LIMIT = 1 << 20

_BAD_LEVEL = LoginRefused(
    ReturnCode.BAD_PROTOCOL_LEVEL, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
)


class _Eof:
    """Half-closed by the peer (EOF)."""


_EOF = _Eof()
# A whole number is the time, in ms since the epoch, at which the packets behind it came.
_Queued = Packet | Chain | MalformedPacket | ReasonCode | _Eof | int


class ConnectionOwner(Protocol):
    """The gateway, as a connection sees it."""

    api: DeviceApi
    connections: "set[DeviceConnection]"
    connect_deadline_s: float
    buffer: memoryview
    """Shared by all connections: a read is over, and its bytes are copied, before the next one begins."""
    closing: bool

    def has_room_for_sub_device(self) -> bool:
        """Return whether there is room for another device behind a gateway."""

    def device_online(self, connection: "DeviceConnection", device: KnownDevice, holder: Holder) -> None:
        """Note that a device has a session."""

    def device_offline(self, connection: "DeviceConnection", device: KnownDevice, holder: Holder) -> None:
        """Note that a device's session is over."""


class DeviceConnection(asyncio.BufferedProtocol):
    """A device's connection over TCP or TLS.

    Most of a server's connections are idle most of the time, so an idle one has no task, no timer and no buffer of its
    own. What needs no waiting is done when it comes; for what does there is a task, behind which other packets queue.
    The gateway looks after deadlines.
    """

    __slots__ = (
        "_deadline",
        "_decoder",
        "_drained",
        "_idle_limit_s",
        "_loop",
        "_owner",
        "_queued",
        "_received_at",
        "_received_ms",
        "_session",
        "_slot",
        "_transport",
        "_unhandled",
        "closed",
        "peer",
        "received",
        "task",
        "transport_name",
        "version",
    )

    def __init__(self, owner: ConnectionOwner, slot: Slot, client: str = "") -> None:
        self._owner = owner
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._decoder = codec.PacketDecoder()
        self._transport: asyncio.Transport | None = None
        self._session: LoginHandler | MqttSession | None = None
        self._queued: deque[_Queued] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._received_at = self._loop.time()
        self._received_ms = 0
        self._deadline = self._received_at + owner.connect_deadline_s
        self._idle_limit_s = math.inf
        self.task: asyncio.Task[None] | None = None
        self.closed = False
        self.version = versions.MQTT3
        self.peer = client
        self.received = 0
        self._unhandled = 0
        self.transport_name = "mqtt"

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass of it
        self._owner.connections.add(self)
        if self._owner.closing:
            self.abort()
            return
        if not self.peer and (peer := transport.get_extra_info("peername")):
            self.peer = str(peer[0])
        if transport.get_extra_info("ssl_object") is not None:
            self.transport_name = "mqtts"
        shown = self._certificates()
        self._session = LoginHandler(self, self._owner.api, shown[0] if shown else None)
        if shown:
            self._enqueue(chain.presented(shown, datetime.now(UTC)))

    def get_buffer(self, _hint: int) -> memoryview:
        return self._owner.buffer

    def buffer_updated(self, size: int) -> None:
        if self.closed:
            return
        data = bytes(self._owner.buffer[:size])
        self._received_at = self._loop.time()
        self.received += size
        # ThingsBoard stamps a message when it comes, however long it waits then
        if self._queued:
            self._queued.append(now_ms())
        else:
            self._received_ms = now_ms()
        try:
            for number, packet in enumerate(self._decoder.feed(data)):
                self._enqueue(packet, at_once=number < _TURN)
        except MalformedPacket as error:
            self._enqueue(error)
            self._pause_reading()
        if self._queued is not None:
            self._unhandled += size
            if self._is_full():
                self._pause_reading()

    def eof_received(self) -> bool:
        self._enqueue(_EOF)
        # What it sent before is still handled; and answered over TCP, but TLS cannot be half-closed.
        return self.transport_name == "mqtt"

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._owner.connections.discard(self)
        self._slot.release()
        self.resume_writing()
        if self.task is None:  # else a login or a subscription may be under way: the end comes after it
            self._end_session()

    # The session's side (session.SessionLink).

    def origin(self) -> Origin:
        return device_api.origin(self.peer, self.transport_name, self._received_ms)

    def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _UNREAD_LIMIT:
            self.abort()

    async def log_in_again(self, packet: Connect) -> None:
        self._end_session()
        shown = self._certificates()
        self._session = login = LoginHandler(self, self._owner.api, shown[0] if shown else None)
        if (rest := login.handle(packet)) is not None:
            await rest

    def enter(self, session: MqttSession, packet: Connect) -> None:
        self._session = session
        self._deadline, self._idle_limit_s = math.inf, _INACTIVITY_S
        if session.device is not None:
            self._slot.set_known(True)
            self._owner.device_online(self, session.device, self)
            if packet.keep_alive_s:
                self._idle_limit_s = min(packet.keep_alive_s * _KEEP_ALIVE_GRACE, _INACTIVITY_S)
        self.send(self.version.accept(session_present=not packet.clean))

    def close(self, reason: ReasonCode | None = None) -> None:
        if self.closed:
            return
        if reason is not None and (disconnect := self.version.disconnect(reason)):
            self.send(disconnect)
        self.closed = True
        self._queued = None
        self._deadline = self._loop.time() + _LINGER_S
        if self._transport is not None:
            self._transport.close()

    def has_room_for_sub_device(self) -> bool:
        return self._owner.has_room_for_sub_device()

    def sub_device_online(self, device: KnownDevice, holder: Holder) -> None:
        self._owner.device_online(self, device, holder)

    def sub_device_offline(self, device: KnownDevice, holder: Holder) -> None:
        self._owner.device_offline(self, device, holder)

    def close_after(self, seconds: float) -> None:
        self._deadline = min(self._deadline, self._loop.time() + seconds)

    # The gateway's side.

    def finish(self, reason: ReasonCode) -> None:
        """Handle the packet that is being handled and no more, then close."""
        if self.task is None:
            self.close(reason)
        elif not self.closed:
            self._queued = deque([reason])

    def abort(self) -> None:
        """Close at once."""
        self.closed = True
        self._queued = None
        if self._transport is not None:
            self._transport.abort()

    def check(self, now: float) -> None:
        """Close a connection that missed its deadline, or has been silent for too long."""
        if now >= self._deadline:
            if not self.closed and isinstance(self._session, LoginHandler):
                self._log("no_login")
                self.abort()
            elif not self.closed:
                self.close()
            else:
                self.abort()
        elif now - self._received_at >= self._idle_limit_s:
            self.close(
                ReasonCode.KEEP_ALIVE_TIMEOUT if self._idle_limit_s < _INACTIVITY_S else ReasonCode.MAXIMUM_CONNECT_TIME
            )

    # Internal.

    def _enqueue(self, waiting: _Queued, *, at_once: bool = True) -> None:
        """Handle something now, or after what came before it."""
        if self.closed:
            return
        if isinstance(self._session, LoginHandler):
            if isinstance(waiting, Connect):
                self.version = versions.of_level(waiting.level)
            if not self._session.has_room(waiting):
                self.close(ReasonCode.QUOTA_EXCEEDED)
                return
        if self._queued is not None:
            self._queued.append(waiting)
        elif at_once and self._drained is None:
            try:
                rest = self._handle(waiting)
            except Exception as error:  # noqa: BLE001 - it is logged, and ends this connection only
                self._fail(error)
            else:
                if rest is not None:
                    self._begin(deque(), rest)
        else:
            self._begin(deque((waiting,)))

    def _begin(self, queued: deque[_Queued], rest: Handling = None) -> None:
        """Have a task do the rest of the work for a packet, and what is queued behind it."""
        self._queued = queued
        self.task = self._loop.create_task(self._serve(rest))

    def _certificates(self) -> list[bytes]:
        """Return the client's certificates, DER, leaf first."""
        tls = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        return [] if tls is None else tls.peer_chain()

    def _is_full(self) -> bool:
        """Return whether as much waits as may; before a login is decided, it is packets that are counted."""
        if isinstance(self._session, LoginHandler):
            return self.received > 2 * codec.PACKET_LIMIT
        return self._queued is not None and (len(self._queued) > _BACKLOG or self._unhandled > _BACKLOG_BYTES)

    def _end_session(self) -> None:
        session, self._session = self._session, None  # it knows this connection, which knows it
        if session is not None:
            session.end()
            if session.device is not None:
                self._owner.device_offline(self, session.device, self)

    def _pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    async def _serve(self, rest: Handling) -> None:
        """Do the rest of the work for a packet; handle what is queued, until nothing is."""
        handled = 0
        try:
            while True:
                if rest is not None:
                    await rest
                while self._drained is not None:
                    await self._drained
                handled += 1
                if handled % _TURN == 0:
                    await asyncio.sleep(0)
                if not self._queued:
                    return
                rest = self._handle(self._queued.popleft())
        except Exception as error:  # noqa: BLE001 - it is logged, and ends this connection only
            self._fail(error)
        finally:
            self.task = self._queued = None
            self._unhandled = 0
            if self._transport is None:
                self._end_session()
            elif not self.closed:
                self._transport.resume_reading()

    def _fail(self, error: Exception) -> None:
        self._owner.api.journal.failure(error, peer=self.peer, transport=self.transport_name)
        self.close(ReasonCode.IMPLEMENTATION_SPECIFIC)

    def _handle(self, waiting: _Queued) -> Handling:
        """Handle something; return what is to be awaited for that, if anything is."""
        if isinstance(waiting, MalformedPacket):
            self._log("malformed", detail=str(waiting))
            if isinstance(waiting, UnacceptableLevel) and isinstance(self._session, LoginHandler):
                self.send(self.version.refuse(_BAD_LEVEL))
            self.close(waiting.reason)
        elif isinstance(waiting, ReasonCode):
            self.close(waiting)
        elif isinstance(waiting, int):
            self._received_ms = waiting
        elif isinstance(waiting, _Eof):
            self.close()
        elif self._session is not None:
            return self._session.handle(waiting)
        return None

    def _log(self, event: str, **fields: str) -> None:
        self._owner.api.refusals.log(event, self.origin(), **fields)
