"""The TCP side of MQTT: connections, their deadlines, their logins, and who is online."""

import asyncio
import uuid
from collections import deque

from bench.registry import Login
from bench.server import device_api
from bench.server.device_api import DeviceApi
from bench.server.limits import Limited
from bench.server.mqtt import codec
from bench.server.mqtt.codec import Connect, MalformedPacket, Packet, Refusal, UnacceptableLevel
from bench.server.mqtt.session import PROVISION, DeviceSession, ProvisionSession

# A connection that has not logged in by then is closed.
CONNECT_DEADLINE_S = 10.0
# A session that says nothing for so long is closed, whatever keep-alive it asked for.
INACTIVITY_S = 600.0
# MQTT 3.1.1, 3.1.2.10: one and a half times the keep-alive.
_KEEP_ALIVE_GRACE = 1.5
# What may wait before CONNECT: packets as upstream counts them, and never more bytes than one packet may have.
_EARLY_PACKETS = 100
# Packets of one connection that may wait for the one being handled, before it is not read from any more.
_BACKLOG = 32
_READ_SIZE = 4096
# Packets in a row that one connection may have handled before the others get their turn.
_TURN = 32


class Gateway:
    """All MQTT connections of a server."""

    def __init__(self, api: DeviceApi, *, connect_deadline_s: float = CONNECT_DEADLINE_S) -> None:
        self.api = api
        self.journal = api.journal
        self.connect_deadline_s = connect_deadline_s
        self.online: dict[uuid.UUID, Connection] = {}
        self.connections: set[Connection] = set()

    def accept(self) -> "Connection":
        """A protocol for a new connection, as `loop.create_server` wants it."""
        return Connection(self)

    async def close(self, grace_s: float) -> None:
        """Let every connection finish the packet it is at, for up to `grace_s`, and close them all."""
        for connection in list(self.connections):
            connection.finish()
        tasks = [connection.task for connection in self.connections]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for connection in list(self.connections):
            connection.abort()


class Connection(asyncio.BufferedProtocol):
    """One TCP connection: cuts its bytes into packets and hands them to a session, one at a time.

    Buffered, because that bounds what one read may bring: asyncio's own 256 KiB are 131,072 pings.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._decoder = codec.Decoder()
        self._incoming = bytearray(_READ_SIZE)
        self._packets: deque[Packet | MalformedPacket | None] = deque()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._early: list[Packet] = []
        self._early_bytes = 0
        self._session: ProvisionSession | DeviceSession | None = None
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._quiet_s = INACTIVITY_S
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.peer = ""

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self._gateway.connections.add(self)
        self._timers["login"] = self._loop.call_later(self._gateway.connect_deadline_s, self._check_login)
        self.task = self._loop.create_task(self._serve())

    def get_buffer(self, _hint: int) -> bytearray:
        return self._incoming

    def buffer_updated(self, size: int) -> None:
        data = bytes(memoryview(self._incoming)[:size])
        self._heard = self._loop.time()
        try:
            for packet in self._decoder.feed(data):
                self._packets.append(packet)
        except MalformedPacket as error:
            self._packets.append(error)
            self._transport.pause_reading()
        if self._session is None:
            self._early_bytes += len(data)
        if len(self._packets) > _BACKLOG:
            self._transport.pause_reading()
        self._arrived.set()

    def eof_received(self) -> bool:
        self._packets.append(None)
        self._arrived.set()
        return True  # what it said before is still handled, and answered

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, _error: Exception | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._gateway.connections.discard(self)
        self._leave()
        self._writable.set()
        self.finish()

    # The session's side (session.Link).

    def send(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._transport.close()

    def close_after(self, seconds: float) -> None:
        if "close" not in self._timers:  # else it closes earlier anyway
            self._timers["close"] = self._loop.call_later(seconds, self.close)

    # The gateway's side.

    def finish(self) -> None:
        """Handle the packet that is being handled, and no more."""
        self._packets.clear()
        self._packets.append(None)
        self._arrived.set()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Our own.

    async def _serve(self) -> None:
        handled = 0
        try:
            while (packet := await self._next()) is not None:
                if isinstance(packet, MalformedPacket):
                    self._refuse(packet)
                    break
                await self._handle(packet)
                await self._writable.wait()
                if self._transport.is_closing():
                    break
                handled += 1
                if handled % _TURN == 0:
                    await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - it is told, and ends this connection only
            self._gateway.journal.failure(error, peer=self.peer, transport="mqtt")
        finally:
            self.close()

    async def _next(self) -> Packet | MalformedPacket | None:
        while not self._packets:
            self._transport.resume_reading()
            self._arrived.clear()
            await self._arrived.wait()
        return self._packets.popleft()

    async def _handle(self, packet: Packet) -> None:
        if isinstance(packet, Connect):
            await self._connect(packet)
        elif self._session is not None:
            await self._session.handle(packet)
        else:
            # upstream keeps what comes before CONNECT, and handles it after a device's login
            self._early.append(packet)
            if len(self._early) > _EARLY_PACKETS or self._early_bytes > codec.PACKET_LIMIT:
                self.close()

    async def _connect(self, packet: Connect) -> None:
        if isinstance(self._session, DeviceSession):  # 3.1: a second CONNECT is a protocol violation
            self.close()
        elif packet.level == 5:  # the codec reads it, sessions do not speak it
            if self._session is None:
                self.send(codec.connack(Refusal.BAD_PROTOCOL_LEVEL))
            self.close()
        elif self._session is not None:  # once a provision session, always one
            self.send(codec.connack(0, session_present=not packet.clean))
        elif PROVISION in (packet.username, packet.client_id):
            self._session = ProvisionSession(self, self._gateway.api)
            self._early.clear()
            self._watch(INACTIVITY_S)
            self.send(codec.connack(0, session_present=not packet.clean))
        else:
            await self._login(packet)

    async def _login(self, packet: Connect) -> None:
        try:
            device = await self._gateway.api.login(_shown(packet), device_api.origin(self.peer, "mqtt"))
        except Limited:
            self.send(codec.connack(Refusal.UNAVAILABLE))
            self.close()
            return
        except Exception:
            self.send(codec.connack(Refusal.UNAVAILABLE))
            raise
        if device is None:
            named = packet.username is not None or packet.password is not None
            code = Refusal.NOT_AUTHORISED if named or not packet.client_id.strip() else Refusal.BAD_CLIENT_ID
            self.send(codec.connack(code))
            self.close()
            return
        if self._transport.is_closing():  # it left while we looked it up: nothing to take over for
            return
        if (older := self._gateway.online.get(device.id)) is not None:
            self._gateway.journal.write("taken_over", device=device.name, peer=self.peer)
            older.finish()
            older.close()
        self._gateway.online[device.id] = self
        self._session = DeviceSession(self, self._gateway.api, device)
        keep_alive_s = packet.keep_alive_s * _KEEP_ALIVE_GRACE
        self._watch(min(keep_alive_s, INACTIVITY_S) if keep_alive_s else INACTIVITY_S)
        self._gateway.journal.write("online", device=device.name, peer=self.peer, transport="mqtt")
        self.send(codec.connack(0, session_present=not packet.clean))
        await self._handle_early()

    async def _handle_early(self) -> None:
        early, self._early = self._early, []
        for packet in early:
            if self._transport.is_closing():
                break
            await self._handle(packet)

    def _refuse(self, error: MalformedPacket) -> None:
        self._gateway.journal.write("malformed", peer=self.peer, transport="mqtt", detail=str(error))
        if isinstance(error, UnacceptableLevel) and self._session is None:
            self.send(codec.connack(Refusal.BAD_PROTOCOL_LEVEL))

    def _leave(self) -> None:
        session = self._session
        if isinstance(session, DeviceSession) and self._gateway.online.get(session.device.id) is self:
            del self._gateway.online[session.device.id]
            self._gateway.journal.write("offline", device=session.device.name, peer=self.peer, transport="mqtt")

    def _check_login(self) -> None:
        if self._session is None:
            self._gateway.journal.write("no_login", peer=self.peer, transport="mqtt")
            self.abort()

    def _watch(self, quiet_s: float) -> None:
        """Close when the peer has said nothing for `quiet_s`."""
        left = self._heard + quiet_s - self._loop.time()
        if left <= 0:
            self.abort()
        else:
            self._timers["quiet"] = self._loop.call_later(left, self._watch, quiet_s)


def _shown(packet: Connect) -> Login:
    password = None if packet.password is None else packet.password.decode(errors="replace")
    return Login(client_id=packet.client_id, username=packet.username or "", password=password)
