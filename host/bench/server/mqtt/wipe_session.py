"""The session of a decommissioned device: it is ordered to wipe itself, and that is all.

It stores nothing, gets nothing and is not online: whatever else it publishes is acknowledged, so that it goes on to
subscribe, and dropped.
"""

from bench.mqtt.codec import Connect, Packet, Publish, Subscribe
from bench.registry.chains import Chain
from bench.registry.logins import DeviceLogin
from bench.server import wipe
from bench.server.device_api import DeviceApi
from bench.server.mqtt import topics
from bench.server.mqtt.session import Handling, MqttSession, SessionLink
from bench.server.mqtt.topics import TopicKind

# Seconds. A device that listens for no calls cannot be told anything.
_LONGEST_S = 60


class WipeSession(MqttSession):
    """The last session of a device, or one of its last."""

    __slots__ = ("_is_timed", "_wiped")

    _FILTERS = topics.DEVICE_FILTERS

    def __init__(self, link: SessionLink, api: DeviceApi, device: DeviceLogin) -> None:
        super().__init__(link, api)
        self._wiped = device
        self._is_timed = False

    def end(self) -> None:
        """No-op: there is no state to release."""

    def handle(self, packet: Packet | Chain) -> Handling:
        if not self._is_timed:
            self._is_timed = True
            self._link.close_after(_LONGEST_S)
        return super().handle(packet)

    async def _on_second_connect(self, packet: Connect) -> None:
        await self._link.log_in_again(packet)

    def _on_subscribe(self, packet: Subscribe) -> None:
        super()._on_subscribe(packet)
        for topic, _ in packet.filters:
            if (form := topics.RPC_FILTERS.get(topic)) is not None:
                self._publish(f"{form.rpc_request}{wipe.CALL_ID}", wipe.order(self._wiped, None))

    async def _on_publish(self, packet: Publish) -> None:
        if topics.parse(packet.topic).kind is not TopicKind.ANSWER:
            self._acknowledge(packet)
            return
        await wipe.answered(self._api, self._wiped, packet.payload, self._link.origin())
        self._acknowledge(packet)
        self._link.close()
