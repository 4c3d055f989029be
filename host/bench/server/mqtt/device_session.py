"""The session of a device that logged in: telemetry, attributes, claims, and calls both ways."""

import asyncio

from bench.mqtt.codec import Connect, Packet, PacketType, Publish, ReasonCode, Simple, Subscribe
from bench.registry.chains import Chain
from bench.registry.device_room import Full
from bench.registry.logins import DeviceLogin
from bench.server import device_json, json_reader
from bench.server.awaited_acks import AwaitedAcks
from bench.server.device_api import DeviceApi, Gone, Unanswered
from bench.server.limits import Limited
from bench.server.mqtt import topics
from bench.server.mqtt.call_timeouts import CallTimeouts
from bench.server.mqtt.chunk_requests import ChunkRefused, ChunkRequests
from bench.server.mqtt.own_topics import STANDARD, OwnTopics
from bench.server.mqtt.session import Handling, MqttSession, SessionLink
from bench.server.mqtt.topics import TopicForm, TopicKind
from bench.server.persistent_calls import Subscription
from bench.server.presence import Call, SessionEnd, Stop


class DeviceSession(MqttSession):
    """The session of one device.

    The forms are those of the last subscription: what the server publishes of its own accord goes to one topic, not to
    each that was subscribed to.
    """

    __slots__ = (
        "_acks",
        "_attribute_form",
        "_call_form",
        "_calls",
        "_chunks",
        "_settled_at",
        "_stop_attributes",
        "_stop_ending",
        "_timeouts",
        "_topics",
        "device",
    )

    _FILTERS = topics.DEVICE_FILTERS
    device: DeviceLogin
    _attribute_form: TopicForm
    _call_form: TopicForm

    def __init__(self, link: SessionLink, api: DeviceApi, device: DeviceLogin) -> None:
        super().__init__(link, api)
        self.device = device
        self._topics = OwnTopics.of(device.mqtt) if device.mqtt.get("type") == "MQTT" else STANDARD
        self._stop_attributes: Stop | None = None
        self._calls: Subscription | None = None
        self._acks: AwaitedAcks | None = None
        self._timeouts: CallTimeouts | None = None
        self._chunks: ChunkRequests | None = None
        self._stop_ending = api.presence.listen_session_end(device.id, self._on_ending, device.shown)
        self._settled_at = asyncio.get_running_loop().time() + api.lateness.session_s

    def end(self) -> None:
        self._stop_ending()
        if self._timeouts is not None:
            self._timeouts.stop()
        self._stop_attribute_updates()
        self._stop_rpc_calls()

    def handle(self, packet: Packet | Chain) -> Handling:
        self._api.activity.seen(self.device.id)
        if self._acks is not None and isinstance(packet, Simple) and packet.kind is PacketType.PUBACK:
            self._acks.acknowledge(packet.packet_id)
        return super().handle(packet)

    async def _on_second_connect(self, packet: Connect) -> None:
        await self._link.log_in_again(packet)

    # What it subscribes to.

    def _on_subscribe(self, packet: Subscribe) -> None:
        super()._on_subscribe(packet)  # SUBACK comes before what the subscription brings
        presence, device_id = self._api.presence, self.device.id
        for topic, _ in packet.filters:
            if (form := self._form_of_attributes(topic)) is not None:
                self._attribute_form = form
                if self._stop_attributes is None:
                    self._stop_attributes = self._api.lateness.begin(
                        self._api.lateness.subscribe_s,
                        lambda: presence.listen_attributes(device_id, self._on_attributes),
                    )
        forms = [topics.RPC_FILTERS[topic] for topic, _ in packet.filters if topic in topics.RPC_FILTERS]
        for _ in forms:
            self._call_form = forms[-1]
            if self._calls is None:
                self._calls = self._api.calls.listen(device_id, self._on_call)
            else:  # every subscription brings what has no answer yet
                self._calls.again()

    def _grant(self, topic: str, qos: int) -> int:
        if topic == self._topics.subscription and topic not in self._FILTERS:
            self._granted[topic] = min(qos, 1)
            return self._granted[topic]
        return super()._grant(topic, qos)

    def _form_of_attributes(self, topic: str) -> TopicForm | None:
        if topic == self._topics.subscription:
            return topics.LONG
        return topics.ATTRIBUTE_FILTERS.get(topic)

    def _unsubscribe(self, topic: str) -> ReasonCode:
        """Leave a topic. To leave one form is to leave them all: only one was ever served."""
        if self._form_of_attributes(topic) is not None:
            self._stop_attribute_updates()
        elif topic in topics.RPC_FILTERS:
            self._stop_rpc_calls()
        return super()._unsubscribe(topic)

    def _stop_attribute_updates(self) -> None:
        if self._stop_attributes is not None:
            self._stop_attributes()
            self._stop_attributes = None

    def _stop_rpc_calls(self) -> None:
        if self._calls is not None:
            self._calls.stop()
            self._calls = None

    def _on_attributes(self, changed: dict[str, object], deleted: list[str]) -> None:
        self._publish(self._attribute_form.attributes, device_json.write_update(changed, deleted))

    def _on_call(self, call: Call) -> None:
        payload = device_json.write_rpc_request(None, call.method, call.params)
        self.send_call(f"{self._call_form.rpc_request}{call.id}", payload, call)

    def send_call(self, topic: str, payload: bytes, call: Call) -> None:
        """Publish a call, and report what becomes of it."""
        packet_id = self._publish(topic, payload)
        if call.report is not None:
            self._acks = self._acks or AwaitedAcks()
            self._acks.expect(packet_id or None, call.report)

    def _on_ending(self, why: SessionEnd) -> None:
        if why is SessionEnd.CREDENTIALS_CHANGED and asyncio.get_running_loop().time() < self._settled_at:
            return
        self._link.close(ReasonCode.ADMINISTRATIVE_ACTION)

    # What it publishes.

    async def _on_publish(self, packet: Publish) -> None:
        topic = self._topics.parse(packet.topic)
        if topic.kind is TopicKind.GATEWAY:
            await self._on_gateway_message(packet)
            return
        if topic.kind is TopicKind.OTHER:
            self._acknowledge(packet, ReasonCode.TOPIC_NAME_INVALID)
            return
        if topic.kind is TopicKind.PROTOBUF:
            self._reject(packet)
            return
        if topic.kind is TopicKind.CHUNK_REQUEST:
            await self._send_chunk(packet, topic.rest)
            return
        try:
            await self._dispatch(packet, topic)
        except json_reader.Malformed:
            self._reject(packet)
        except json_reader.BadField:  # an exception that upstream does not expect closes with this reason
            self._link.close(ReasonCode.SERVER_SHUTTING_DOWN)
        except Unanswered:
            pass  # nor acknowledged
        except Gone:
            self._link.close(ReasonCode.ADMINISTRATIVE_ACTION)
        except (Full, Limited) as refused:
            full = isinstance(refused, Full)
            self._link.close(ReasonCode.QUOTA_EXCEEDED if full else ReasonCode.IMPLEMENTATION_SPECIFIC)

    async def _on_gateway_message(self, packet: Publish) -> None:
        """Ignore it: upstream does not answer a device that is not a gateway."""

    async def _dispatch(self, packet: Publish, topic: topics.ParsedTopic) -> None:
        """Have a message handled, acknowledge it, and answer. Raises PayloadError, Gone, Full or Limited."""
        api, device, payload, source = self._api, self.device, packet.payload, self._link.origin()
        match topic.kind:
            case TopicKind.TELEMETRY:
                await api.telemetry(device, payload, source)
                self._acknowledge(packet)
            case TopicKind.ATTRIBUTES:
                await api.attributes(device, payload, source)
                self._acknowledge(packet)
            case TopicKind.ATTRIBUTE_REQUEST:
                await self._answer_attribute_request(packet, topic)
            case TopicKind.ANSWER:
                await api.answer(device, _id(topic.rest, json_reader.Malformed), payload, source)
                self._acknowledge(packet)
            case TopicKind.CALL:
                request = _id(topic.rest, json_reader.BadField)
                reply = await api.call(device, payload, source)
                self._acknowledge(packet)
                answer = f"{topic.form.rpc_response}{request}"
                if reply is None:
                    self._time_out(answer)
                else:
                    self._publish(answer, reply.payload)
                    reply.then()
            case TopicKind.CLAIM:
                await api.claim(device, payload, source)
                self._acknowledge(packet)

    def _time_out(self, topic: str) -> None:
        if self._timeouts is None:
            self._timeouts = CallTimeouts(self._publish)
        self._timeouts.add(topic)

    async def _answer_attribute_request(self, packet: Publish, topic: topics.ParsedTopic) -> None:
        request = _id(topic.rest, json_reader.Malformed)
        keys = device_json.read_attribute_request(packet.payload)
        try:
            found = await self._api.read_attributes(self.device, *keys)
        except Unanswered:
            request = -1
        self._acknowledge(packet)
        if request >= 0:
            answer = await self._api.payloads.write(device_json.write_attributes, *found)
            self._publish(f"{topic.form.attribute_response}{request}", answer)

    def _acknowledge(self, packet: Publish, reason: ReasonCode = ReasonCode.SUCCESS) -> None:
        if delay_s := self._api.lateness.puback():
            asyncio.get_running_loop().call_later(delay_s, super()._acknowledge, packet, reason)
        else:
            super()._acknowledge(packet, reason)

    def _reject(self, packet: Publish) -> None:
        if packet.qos and self._topics.acknowledges_invalid:
            self._acknowledge(packet, ReasonCode.PAYLOAD_FORMAT_INVALID)
        else:
            super()._reject(packet)

    async def _send_chunk(self, packet: Publish, request: str) -> None:
        """Send a part of a package, after the PUBACK; without one tell why there is none, and close."""
        kind, _, number = request.rsplit("/", 2)
        size, at = topics.parse_int32(packet.payload.decode(errors="replace") or "0"), topics.parse_int32(number)
        if size is None or at is None:
            self._link.close(ReasonCode.SERVER_SHUTTING_DOWN)
            return
        if self._chunks is None:
            self._chunks = ChunkRequests(self._api, self.device.id)
        try:
            part = await self._chunks.part(request.removesuffix(f"/{number}"), size if packet.payload else None, at)
        except ChunkRefused as refused:
            self._publish(topics.PACKAGE_ERROR, refused.reason)
            self._link.close(ReasonCode.IMPLEMENTATION_SPECIFIC)
            return
        super()._acknowledge(packet)  # never late: the part follows it
        self._publish(f"v2/{kind}/response/{request.split('/')[1]}/chunk/{number}", part)


def _id(text: str, error: type[json_reader.PayloadError]) -> int:
    number = topics.parse_int32(text)
    if number is None:
        raise error("the topic does not end with an id")
    return number
