"""MQTT sessions: what those of devices and of provisioning have in common.

A session handles one packet at a time, in order. `SessionLink` is all it knows of the connection.
"""

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Protocol

from bench.mqtt import codec
from bench.mqtt.codec import Connect, Packet, PacketType, Publish, ReasonCode, Simple, Subscribe, Unsubscribe
from bench.registry.audit import Origin
from bench.registry.chains import Chain
from bench.registry.logins import DeviceLogin, KnownDevice
from bench.server.device_api import DeviceApi
from bench.server.mqtt import topics
from bench.server.mqtt.versions import MqttVersion

Handling = Coroutine[Any, Any, None] | None
"""The rest of the work for a packet: None if it is done already, as it is for most."""


class Holder(Protocol):
    """The place of a device's session: a connection, or a part of the connection of its gateway."""

    def close(self, reason: ReasonCode | None = None) -> None:
        """End the session."""


class SessionLink(Protocol):
    """The connection, as a session sees it."""

    version: MqttVersion
    closed: bool
    """True once nothing is to be handled any more."""
    received: int
    """The number of bytes received so far."""

    def origin(self) -> Origin:
        """Return the origin of the packet at hand."""

    def send(self, data: bytes) -> None:
        """Queue bytes for the peer."""

    def enter(self, session: "MqttSession", packet: Connect) -> None:
        """Accept a client: from now on its packets are the session's."""

    async def log_in_again(self, packet: Connect) -> None:
        """End the session, and have another CONNECT decided as if it were the first."""

    def close(self, reason: ReasonCode | None = None) -> None:
        """Send the reason (MQTT 5), close once everything queued is sent, and handle no more packets."""

    def has_room_for_sub_device(self) -> bool:
        """Return whether the server has room for another device behind a gateway."""

    def sub_device_online(self, device: KnownDevice, holder: "Holder") -> None:
        """Register the session of a device behind this gateway; an older session of the device is closed."""

    def sub_device_offline(self, device: KnownDevice, holder: "Holder") -> None:
        """Forget it."""

    def close_after(self, seconds: float) -> None:
        """Close in so many seconds, whatever happens until then."""


class MqttSession(ABC):
    """Subscriptions to what is served, pings, and the end."""

    __slots__ = ("_api", "_granted", "_link", "_packet_id")

    _FILTERS: frozenset[str]
    device: DeviceLogin | None = None
    """The device that is logged in."""

    def __init__(self, link: SessionLink, api: DeviceApi) -> None:
        self._link = link
        self._api = api
        self._granted: dict[str, int] = {}
        self._packet_id = 0

    def handle(self, packet: Packet | Chain) -> Handling:
        """Answer one packet; return what is to be awaited for that, if anything is."""
        match packet:
            case Publish():
                return self._on_publish(packet)
            case Subscribe():
                self._on_subscribe(packet)
            case Unsubscribe():
                reasons = [self._unsubscribe(topic) for topic in packet.filters]
                self._link.send(self._link.version.unsuback(packet.packet_id, reasons))
            case Connect():
                return self._on_second_connect(packet)
            case Simple(kind=PacketType.PINGREQ):
                self._link.send(codec.PINGRESP)
            case Simple(kind=PacketType.DISCONNECT):
                self._link.close(ReasonCode.SUCCESS)
            case _:
                pass  # acknowledgements, and AUTH
        return None

    @abstractmethod
    def end(self) -> None:
        """Release what the session holds: the connection is gone."""

    @abstractmethod
    async def _on_second_connect(self, packet: Connect) -> None:
        """Answer a second CONNECT."""

    @abstractmethod
    async def _on_publish(self, packet: Publish) -> None:
        """Answer a PUBLISH."""

    def _on_subscribe(self, packet: Subscribe) -> None:
        codes = [self._grant(*each) for each in packet.filters]
        self._link.send(self._link.version.suback(packet.packet_id, codes))

    def _grant(self, topic: str, qos: int) -> int:
        """Grant a subscription, QoS 2 as 1; refuse what is not served, whatever it would match."""
        if topic not in self._FILTERS:
            return ReasonCode.TOPIC_FILTER_INVALID
        self._granted[topic] = min(qos, 1)
        return self._granted[topic]

    def _unsubscribe(self, topic: str) -> ReasonCode:
        return ReasonCode.NO_SUBSCRIPTION_EXISTED if self._granted.pop(topic, None) is None else ReasonCode.SUCCESS

    def _acknowledge(self, packet: Publish, reason: ReasonCode = ReasonCode.SUCCESS) -> None:
        if packet.qos:  # QoS 2 as well: upstream's answer to it is a PUBACK
            self._link.send(self._link.version.puback(packet.packet_id, reason))

    def _reject(self, packet: Publish) -> None:
        """Reject a message that cannot be read: the session goes on only if the device can be told why."""
        if packet.qos and self._link.version.has_reason_codes:
            self._acknowledge(packet, ReasonCode.PAYLOAD_FORMAT_INVALID)
        else:
            self._link.close(ReasonCode.PAYLOAD_FORMAT_INVALID)

    def _publish(self, topic: str, payload: bytes) -> int:
        """Publish with the QoS of a subscription, or with 1 if there is none. Packet ids count every message.

        Returns:
            The id of the packet that the device is to acknowledge, or 0.
        """
        qos = next((qos for wanted, qos in self._granted.items() if topics.matches(wanted, topic)), 1)
        self._packet_id = self._packet_id % 0xFFFF + 1
        self._link.send(self._link.version.publish(topic, payload, qos=qos, packet_id=self._packet_id))
        return self._packet_id if qos else 0
