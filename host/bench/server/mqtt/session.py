"""What a connection may do: a provision session, or a device's own session.

A session handles one packet at a time, in order. `Link` is all it knows of the connection.
"""

from abc import ABC, abstractmethod
from typing import Protocol

from bench.registry import DeviceLogin, Origin
from bench.server import device_api, wire
from bench.server.device_api import DeviceApi, Gone
from bench.server.limits import Limited
from bench.server.mqtt import codec
from bench.server.mqtt.codec import Kind, Packet, Publish, Simple, Subscribe, Unsubscribe

PROVISION = "provision"
PROVISION_REQUEST = "/provision/request"
PROVISION_RESPONSE = "/provision/response"
# A provision session lives on after an answer, so that a device may ask again.
AFTER_ANSWER_S = 60

_TELEMETRY = ("v1/devices/me/telemetry", "v2/t")
_ATTRIBUTES = ("v1/devices/me/attributes", "v2/a")
_SUBSCRIBE_REFUSED = 0x80


class Link(Protocol):
    """The connection, as a session sees it."""

    peer: str

    def send(self, data: bytes) -> None:
        """Queue bytes for the peer."""

    def close(self) -> None:
        """Close once everything queued is sent."""

    def close_after(self, seconds: float) -> None:
        """Close then, whatever happens until then."""


class Session(ABC):
    """What both kinds have in common: subscriptions to what is served, pings, the end."""

    _FILTERS: frozenset[str]

    def __init__(self, link: Link, api: DeviceApi) -> None:
        self._link = link
        self._api = api
        self._granted: dict[str, int] = {}

    async def handle(self, packet: Packet) -> None:
        """Answer one packet."""
        match packet:
            case Publish():
                await self._publish(packet)
            case Subscribe():
                self._link.send(codec.suback(packet.packet_id, [self._grant(*each) for each in packet.filters]))
            case Unsubscribe():
                for topic in packet.filters:
                    self._granted.pop(topic, None)
                self._link.send(codec.unsuback(packet.packet_id))
            case Simple(kind=Kind.PINGREQ):
                self._link.send(codec.PINGRESP)
            case Simple(kind=Kind.DISCONNECT):
                self._link.close()
            case _:
                pass  # acknowledgements

    def _grant(self, topic: str, qos: int) -> int:
        """The code for one filter: QoS 2 is granted as 1; what is not served is refused, whatever it would match."""
        if topic not in self._FILTERS:
            return _SUBSCRIBE_REFUSED
        self._granted[topic] = min(qos, 1)
        return self._granted[topic]

    @abstractmethod
    async def _publish(self, packet: Publish) -> None:
        """Answer a PUBLISH."""

    def _origin(self) -> Origin:
        return device_api.origin(self._link.peer, "mqtt")

    def _acknowledge(self, packet: Publish) -> None:
        if packet.qos:  # QoS 2 as well: upstream's answer to it is a PUBACK
            self._link.send(codec.puback(packet.packet_id))


class ProvisionSession(Session):
    """A connection whose user name or client id is `provision`: it can ask for credentials, and that is all."""

    _FILTERS = frozenset((PROVISION_RESPONSE,))
    _packet_id = 0

    async def _publish(self, packet: Publish) -> None:
        if packet.topic != PROVISION_REQUEST:
            self._acknowledge(packet)
            self._link.close()
            return
        try:
            outcome = await self._api.provision(packet.payload, self._origin())
        except wire.Malformed:
            self._link.close()
            return
        except (wire.BadField, Limited):
            self._acknowledge(packet)
            self._link.close()
            return
        except Exception:
            self._acknowledge(packet)
            self._link.close()
            raise
        self._acknowledge(packet)
        qos = self._granted.get(PROVISION_RESPONSE, 1)
        if qos:
            self._packet_id = self._packet_id % 0xFFFF + 1
        self._link.send(
            codec.publish(PROVISION_RESPONSE, wire.write_answer(outcome), qos=qos, packet_id=self._packet_id)
        )
        self._link.close_after(AFTER_ANSWER_S)


class DeviceSession(Session):
    """A device that logged in: it reports, and keeps the connection alive."""

    _FILTERS = frozenset(
        (
            "v1/devices/me/attributes",
            "v1/devices/me/attributes/response/+",
            "v1/devices/me/rpc/request/+",
            "v1/devices/me/rpc/response/+",
        )
    )

    def __init__(self, link: Link, api: DeviceApi, device: DeviceLogin) -> None:
        super().__init__(link, api)
        self.device = device

    async def _publish(self, packet: Publish) -> None:
        try:
            if packet.topic in _TELEMETRY:
                await self._api.telemetry(self.device, packet.payload, self._origin())
            elif packet.topic in _ATTRIBUTES:
                await self._api.attributes(self.device, packet.payload, self._origin())
            # any other topic is acknowledged and dropped
        except (wire.WireError, Gone):
            self._link.close()
            return
        self._acknowledge(packet)
