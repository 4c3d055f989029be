"""The session of a connection whose user name or client id is `provision`: it can provision, and that is all."""

from bench.mqtt.codec import Connect, Publish, ReasonCode
from bench.server import device_json, json_reader
from bench.server.limits import Limited
from bench.server.mqtt import versions
from bench.server.mqtt.session import MqttSession
from bench.server.mqtt.topics import PROVISION_REQUEST, PROVISION_RESPONSE

NAME = "provision"
# A session lives on after an answer, so that a device may send another request.
AFTER_ANSWER_S = 60


class ProvisionSession(MqttSession):
    """The session of a device without credentials."""

    __slots__ = ()

    _FILTERS = frozenset((PROVISION_RESPONSE,))

    def end(self) -> None:
        """No-op: there is no state to release."""

    def _on_second_connect(self, packet: Connect) -> None:
        """Accept it; a provision session stays one."""
        self._link.version = versions.of_level(packet.level)
        self._link.send(self._link.version.accept(session_present=not packet.clean))

    async def _on_publish(self, packet: Publish) -> None:
        if packet.topic != PROVISION_REQUEST:
            self._refuse(packet, ReasonCode.TOPIC_NAME_INVALID)
            return
        try:
            outcome = await self._api.provision(packet.payload, self._link.origin())
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
            self._publish(PROVISION_RESPONSE, device_json.write_answer(outcome))
            self._link.close_after(AFTER_ANSWER_S)

    def _refuse(self, packet: Publish, reason: ReasonCode) -> None:
        self._acknowledge(packet, reason)
        self._link.close(reason)
