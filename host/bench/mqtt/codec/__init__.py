"""MQTT 3.1, 3.1.1 and 5 packets from and to bytes.

Reading is strict: every violation of the standard of the connection's level raises
MalformedPacket, and the server then closes the connection. Section numbers are those of OASIS
MQTT 3.1.1, or of MQTT 5 where it is named.
"""

from bench.mqtt.codec.decoder import PACKET_LIMIT, PacketDecoder
from bench.mqtt.codec.encoder import PINGRESP, connack, disconnect, puback, publish, suback, unsuback
from bench.mqtt.codec.packets import (
    Connect,
    MalformedPacket,
    Packet,
    PacketType,
    Publish,
    ReasonCode,
    ReturnCode,
    Simple,
    Subscribe,
    UnacceptableLevel,
    Unsubscribe,
)

__all__ = [
    "PACKET_LIMIT",
    "PINGRESP",
    "Connect",
    "MalformedPacket",
    "Packet",
    "PacketDecoder",
    "PacketType",
    "Publish",
    "ReasonCode",
    "ReturnCode",
    "Simple",
    "Subscribe",
    "UnacceptableLevel",
    "Unsubscribe",
    "connack",
    "disconnect",
    "puback",
    "publish",
    "suback",
    "unsuback",
]
