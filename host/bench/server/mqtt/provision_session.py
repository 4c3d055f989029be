"""The session of a connection whose user name or client id is `provision`: it can provision, and that is all."""

from bench.mqtt.codec import Connect, Publish, ReasonCode
from bench.server import device_json, json_reader, protobuf
from bench.server.device_api import DeviceApi
from bench.server.limits import Limited
from bench.server.mqtt import versions
from bench.server.mqtt.session import MqttSession, SessionLink
from bench.server.mqtt.topics import PROVISION_REQUEST, PROVISION_RESPONSE

NAME = "provision"
# A session lives on after an answer, so that a device may send another request.
AFTER_ANSWER_S = 60


class ProvisionSession(MqttSession):
    """The session of a device without credentials."""

    __slots__ = ("_in_protobuf",)

    _FILTERS = frozenset((PROVISION_RESPONSE,))

    def __init__(self, link: SessionLink, api: DeviceApi) -> None:
        super().__init__(link, api)
        self._in_protobuf = False

    def end(self) -> None:
        """No-op: there is no state to release."""

    async def _on_second_connect(self, packet: Connect) -> None:
        """Accept it; a provision session stays one."""
        self._link.version = versions.of_level(packet.level)
        self._link.send(self._link.version.accept(session_present=not packet.clean))

    async def _on_publish(self, packet: Publish) -> None:
        if packet.topic != PROVISION_REQUEST:
            self._refuse(packet, ReasonCode.TOPIC_NAME_INVALID)
            return
        payload = packet.payload
        if payload == protobuf.EMPTY_REQUEST:
            self._in_protobuf, payload = True, protobuf.AS_JSON  # and so are all answers from now on
        try:
            outcome = await self._api.provision(payload, self._link.origin())
        except json_reader.Malformed:
            self._reject(packet)
        except json_reader.BadField:
            self._refuse(packet, ReasonCode.IMPLEMENTATION_SPECIFIC)
        except Limited:
            self._refuse(packet, ReasonCode.QUOTA_EXCEEDED)
        except Exception:
            self._refuse(packet, ReasonCode.IMPLEMENTATION_SPECIFIC)
            raise
        else:
            self._acknowledge(packet)
            write = protobuf.write_answer if self._in_protobuf else device_json.write_answer
            self._publish(PROVISION_RESPONSE, write(outcome))
            self._link.close_after(AFTER_ANSWER_S)

    def _refuse(self, packet: Publish, reason: ReasonCode) -> None:
        self._acknowledge(packet, reason)
        self._link.close(reason)
