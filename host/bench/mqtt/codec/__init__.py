"""MQTT 3.1, 3.1.1 and 5 packets from and to bytes.

Reading is strict: whatever the standard of a connection's level calls a violation raises
MalformedPacket, and the connection it came on is closed. Section numbers are those of OASIS
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
