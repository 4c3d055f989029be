"""The versions of MQTT: each writes a session's answers in its own form. Sessions know reasons, not versions."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.mqtt import codec
from bench.mqtt.codec import ReasonCode, ReturnCode

_SUBSCRIBE_FAILURE = 0x80


class LoginRefused(NamedTuple):
    """The reason for which a CONNECT is refused."""

    code: ReturnCode
    """Before MQTT 5."""
    reason: ReasonCode
    """In MQTT 5, which has a DISCONNECT follow with this reason:"""
    disconnect_reason: ReasonCode


class MqttVersion:
    """MQTT 3.1 and 3.1.1, and what is sent before it is known which version a client speaks."""

    level = 4
    has_reason_codes = False
    """True if an acknowledgement can carry a reason, so that a session can go on after it."""

    def accept(self, *, session_present: bool) -> bytes:
        """Return the CONNACK that accepts a client."""
        return codec.connack(0, session_present=session_present, level=self.level)

    def refuse(self, why: LoginRefused) -> bytes:
        """Return the CONNACK that refuses a client."""
        return codec.connack(why.code, level=self.level)

    def puback(self, packet_id: int, reason: ReasonCode) -> bytes:
        """Return a PUBACK."""
        return codec.puback(packet_id, reason, level=self.level)

    def suback(self, packet_id: int, codes: Sequence[int]) -> bytes:
        """Return a SUBACK: for each filter the granted QoS, or the reason for which it is refused."""
        return codec.suback(packet_id, [min(code, _SUBSCRIBE_FAILURE) for code in codes], level=self.level)

    def unsuback(self, packet_id: int, reasons: Sequence[ReasonCode]) -> bytes:
        """Return an UNSUBACK."""
        return codec.unsuback(packet_id, reasons, level=self.level)

    def publish(self, topic: str, payload: bytes, *, qos: int, packet_id: int) -> bytes:
        """Return a PUBLISH."""
        return codec.publish(topic, payload, qos=qos, packet_id=packet_id, level=self.level)

    def disconnect(self, _reason: ReasonCode) -> bytes:
        """Return what is sent before the server closes: nothing, before MQTT 5."""
        return b""


class Mqtt5(MqttVersion):
    """MQTT 5."""

    level = 5
    has_reason_codes = True

    def refuse(self, why: LoginRefused) -> bytes:
        return codec.connack(why.reason, level=self.level) + codec.disconnect(why.disconnect_reason)

    def suback(self, packet_id: int, codes: Sequence[int]) -> bytes:
        return codec.suback(packet_id, codes, level=self.level)

    def disconnect(self, reason: ReasonCode) -> bytes:
        return codec.disconnect(reason)


MQTT3 = MqttVersion()
MQTT5 = Mqtt5()


def of_level(level: int) -> MqttVersion:
    """Return the version of a CONNECT's protocol level: 3, 4 or 5."""
    return MQTT5 if level == MQTT5.level else MQTT3
