"""The session of a gateway: a device's own, and those of the devices behind it.

What ThingsBoard 4.3 does is in its AbstractGatewaySessionHandler and MqttTransportHandler. A device behind a gateway
has a session like any other: the next one of the device, wherever it is, ends it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from bench.errors import Refused
from bench.mqtt.codec import Packet, Publish, ReasonCode
from bench.registry.audit import Origin
from bench.registry.chains import Chain
from bench.registry.device_room import Full
from bench.registry.logins import DeviceLogin, KnownDevice
from bench.registry.profiles import DEFAULT
from bench.registry.sub_devices import TooMany, Undecided
from bench.server import gateway_json
from bench.server.device_api import DeviceApi, Gone, Unanswered
from bench.server.gateway_api import GatewayApi
from bench.server.gateway_json import EmptyList
from bench.server.json_reader import BadField, Malformed, PayloadError
from bench.server.mqtt import topics
from bench.server.mqtt.device_session import DeviceSession
from bench.server.mqtt.later import Later
from bench.server.mqtt.session import Handling, MqttSession, SessionLink
from bench.server.presence import Call, SessionEnd, Stop

T = TypeVar("T")

CONNECTED = 10_000
"""Devices that one gateway has connected at a time."""
# How often what a gateway does may count as activity of all its devices, in seconds, as ThingsBoard reports it.
_REPORT_S = 3.0


class Waiting(Exception):
    """A message is about new devices that a hook is to decide about first, or about devices that others wait for.

    Attributes:
        names: All of its devices.
        undecided: Those that a hook is to decide about, with the profiles that they are to have.
    """

    def __init__(self, names: Iterable[str], undecided: Mapping[str, tuple[str, Undecided]]) -> None:
        super().__init__()
        self.names = frozenset(names)
        self.undecided = undecided


class SubDevice:
    """The session of a device behind a gateway."""

    __slots__ = ("_session", "_stops", "device")

    def __init__(self, session: "GatewaySession", device: KnownDevice) -> None:
        self._session = session
        self.device = device
        self._stops: tuple[Stop, ...] = ()

    def listen(self) -> None:
        """Have what the server has for the device published, calls without an answer at once."""
        presence, device_id = self._session.presence, self.device.id
        self._stops = (
            presence.listen_session_end(device_id, self._on_ending),
            presence.listen_attributes(device_id, self._on_attributes),
            self._session.calls.listen(device_id, self._on_call).stop,
        )

    def close(self, _reason: ReasonCode | None = None) -> None:
        """End it. The gateway is not told, as with ThingsBoard: what it says next connects the device again."""
        for stop in self._stops:
            stop()
        self._session.forget(self)

    def _on_ending(self, _why: SessionEnd) -> None:
        self.close()

    def _on_attributes(self, changed: dict[str, object], deleted: list[str]) -> None:
        self._session.send(topics.GATEWAY_ATTRIBUTES, gateway_json.write_update(self.device.name, changed, deleted))

    def _on_call(self, call: Call) -> None:
        payload = gateway_json.write_call(self.device.name, call.id, call.method, call.params)
        self._session.send_call(topics.GATEWAY_RPC, payload, call)


class GatewaySession(DeviceSession):
    """The session of a gateway."""

    __slots__ = ("_gateway", "_later", "_reported_at", "_sub_devices", "calls", "presence")

    def __init__(self, link: SessionLink, api: DeviceApi, device: DeviceLogin) -> None:
        super().__init__(link, api, device)
        self.presence = api.presence
        self.calls = api.calls
        self._gateway = GatewayApi(api, device)
        self._sub_devices: dict[str, SubDevice] = {}
        self._later = Later()
        self._reported_at = 0.0

    def end(self) -> None:
        self._later.cancel()
        for each in list(self._sub_devices.values()):
            each.close()
        super().end()

    def handle(self, packet: Packet | Chain) -> Handling:
        if self.device.overwrites_activity:
            self._report_all()
        return super().handle(packet)

    def _report_all(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._reported_at >= _REPORT_S:
            self._reported_at = now
            for each in self._sub_devices.values():
                self._api.activity.seen(each.device.id)

    # The devices' side.

    def send(self, topic: str, payload: bytes) -> None:
        """Publish something for one of the devices, whether or not the gateway subscribed to it."""
        self._publish(topic, payload)

    def forget(self, sub_device: SubDevice) -> None:
        """Forget a device whose session is over."""
        if self._sub_devices.get(sub_device.device.name) is sub_device:
            del self._sub_devices[sub_device.device.name]
            self._link.sub_device_offline(sub_device.device, sub_device)

    async def _connect(self, wanted: Mapping[str, str]) -> dict[str, KnownDevice | Refused]:
        """Return the devices that the gateway means, connected; or why it must not have them. Raises Waiting."""
        source = self._link.origin()
        if self._later.has(wanted):
            raise Waiting(wanted, {})
        while True:
            missing = {name: kind for name, kind in wanted.items() if name not in self._sub_devices}
            refused: dict[str, Refused] = {}
            undecided: dict[str, tuple[str, Undecided]] = {}
            with self.presence.watch_session_ends() as ended:
                found = await self._gateway.connect(missing, source) if missing else {}
            if self._link.closed:  # another connection of this gateway has them now
                raise Gone
            for name, each in found.items():
                if isinstance(each, Refused):
                    refused[name] = each
                elif isinstance(each, Undecided):
                    undecided[name] = wanted[name], each
                elif each.id not in ended:
                    self._begin(each, refused)
            if undecided:
                raise Waiting(wanted, undecided)
            known = {name: self._sub_devices[name].device for name in wanted if name in self._sub_devices}
            if known.keys() | refused.keys() == wanted.keys():
                return {**known, **refused}

    def _begin(self, device: KnownDevice, refused: dict[str, Refused]) -> None:
        if len(self._sub_devices) >= CONNECTED or not self._link.has_room_for_sub_device():
            refused[device.name] = TooMany("there is no room for another device behind a gateway")
            return
        sub_device = SubDevice(self, device)
        self._link.sub_device_online(device, sub_device)  # ends the session before, so that no call goes to both
        self._sub_devices[device.name] = sub_device
        sub_device.listen()

    # What the gateway publishes.

    async def _on_gateway_message(self, packet: Publish) -> None:
        source = self._link.origin()
        if (waiting := await self._handled(packet, source)) is not None:
            # meanwhile the gateway goes on with other devices
            work = partial(self._handle_later, packet, source, waiting)
            await self._later.add(waiting.names, len(packet.payload), work)

    async def _handle_later(self, packet: Publish, source: Origin, waiting: Waiting | None) -> None:
        """Have hooks decide about the devices of a message, and handle it then."""
        try:
            while waiting is not None and not self._link.closed:
                decisions = (self._gateway.decide(name, *each, source) for name, each in waiting.undecided.items())
                await asyncio.gather(*decisions)
                waiting = await self._handled(packet, source)
        except Exception as error:  # noqa: BLE001 - it is logged, and ends this connection only
            self._api.journal.failure(error, peer=source.address, transport=source.transport)
            self._link.close(ReasonCode.IMPLEMENTATION_SPECIFIC)

    async def _handled(self, packet: Publish, source: Origin) -> Waiting | None:
        """Handle a message; return what it waits for if it has to be handled later."""
        try:
            await self._dispatch_for_devices(packet, source)
        except Waiting as waiting:
            return waiting
        except Malformed:
            self._reject(packet)
        except BadField:
            MqttSession._acknowledge(self, packet, ReasonCode.IMPLEMENTATION_SPECIFIC)  # noqa: SLF001 - never late
            self._link.close(ReasonCode.IMPLEMENTATION_SPECIFIC)
        except Gone:
            self._link.close(ReasonCode.ADMINISTRATIVE_ACTION)
        return None

    async def _dispatch_for_devices(self, packet: Publish, source: Origin) -> None:
        """Have a message handled, acknowledge it, and answer. Raises PayloadError, Gone or Waiting."""
        gateway, payload = self._gateway, packet.payload
        match packet.topic:
            case topics.GATEWAY_CONNECT:
                await self._on_connect(packet, *await gateway.read(gateway_json.read_connect, payload, source))
            case topics.GATEWAY_DISCONNECT:
                self._on_disconnect(packet, await gateway.read(gateway_json.read_disconnect, payload, source))
            case topics.GATEWAY_TELEMETRY:
                series = await gateway.read(gateway_json.read_telemetry, payload, source, source.received_ms)
                await self._store(packet, series, lambda parts: gateway.telemetry(parts, source))
            case topics.GATEWAY_ATTRIBUTES:
                values = await gateway.read(gateway_json.read_attributes, payload, source)
                await self._store(packet, values, lambda parts: gateway.attributes(parts, source))
            case topics.GATEWAY_CLAIM:
                claims = await gateway.read(gateway_json.read_claims, payload, source)
                await self._store(packet, claims, lambda parts: gateway.claims(parts, source))
            case topics.GATEWAY_ATTRIBUTE_REQUEST:
                request = await gateway.read(gateway_json.read_attribute_request, payload, source)
                await self._answer_request_for_device(packet, request)
            case topics.GATEWAY_RPC:
                await self._deliver_answer(packet, *await gateway.read(gateway_json.read_answer, payload, source))
            case _:
                self._acknowledge(packet, ReasonCode.TOPIC_NAME_INVALID)

    async def _on_connect(self, packet: Publish, name: str, profile: str) -> None:
        if not isinstance((await self._connect({name: profile}))[name], Refused):
            self._acknowledge(packet)

    def _on_disconnect(self, packet: Publish, name: str) -> None:
        if name in self._sub_devices:
            self._sub_devices[name].close()
        self._acknowledge(packet)

    async def _deliver_answer(self, packet: Publish, name: str, call_id: int, value: Any) -> None:
        device = (await self._connect({name: DEFAULT}))[name]
        if isinstance(device, Refused):
            self._acknowledge(packet, _reason(device))
        else:
            await self._gateway.answer(device, call_id, value, self._link.origin())
            self._acknowledge(packet)

    async def _answer_request_for_device(self, packet: Publish, request: gateway_json.AttributeRequest) -> None:
        device = (await self._connect({request.device: DEFAULT}))[request.device]
        if isinstance(device, Refused):
            self._acknowledge(packet, ReasonCode.IMPLEMENTATION_SPECIFIC)
            return
        answer = None
        with suppress(Unanswered):
            answer = await self._gateway.attributes_wanted(device, request)
        self._acknowledge(packet)
        if answer is not None:
            self._publish(topics.GATEWAY_ATTRIBUTE_RESPONSE, answer)

    async def _store(
        self,
        packet: Publish,
        parts: Mapping[str, T | PayloadError],
        store: Callable[[dict[KnownDevice, T]], Awaitable[dict[KnownDevice, Exception]]],
    ) -> None:
        """Store what can be, of each device by itself; acknowledge once, with the worst of what came of it."""
        found = await self._connect(dict.fromkeys(parts, DEFAULT))
        good: dict[KnownDevice, T] = {}
        unreadable, empty, refused = False, False, [each for each in found.values() if isinstance(each, Refused)]
        for name, part in parts.items():
            device = found[name]
            if isinstance(part, PayloadError):
                empty |= isinstance(part, EmptyList)
                unreadable |= not isinstance(part, EmptyList)
            elif not isinstance(device, Refused):
                good[device] = part
        failed = await store(good)
        full = any(isinstance(error, Full) for error in failed.values())
        if unreadable:
            self._explain(packet, ReasonCode.PAYLOAD_FORMAT_INVALID)
        elif full:
            self._explain(packet, ReasonCode.QUOTA_EXCEEDED)
        elif refused or failed:
            self._acknowledge(packet, _reason(*refused))
        elif not empty:
            self._acknowledge(packet)

    def _explain(self, packet: Publish, reason: ReasonCode) -> None:
        """Say why something was not stored; close if that cannot be said."""
        if self._link.version.has_reason_codes:
            self._acknowledge(packet, reason)
        else:
            self._link.close(reason)


def _reason(*refused: Refused) -> ReasonCode:
    too_many = any(isinstance(each, TooMany) for each in refused)
    return ReasonCode.QUOTA_EXCEEDED if too_many else ReasonCode.UNSPECIFIED
