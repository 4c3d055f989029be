"""The provisioning exchange over MQTT: one connection, one request, one answer."""

import time

from firstboot.errors import LoginRefused, ProtocolError, Timeout
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings

_USER = "provision"
_REQUEST = "/provision/request"
_RESPONSE = "/provision/response"


def exchange(settings: Settings, name: str, request: str) -> memoryview:
    """Send the request on a connection of its own, and return the answer's payload, which lies in the receive buffer.

    ThingsBoard: the answer comes on the requesting connection only.
    """
    client = Mqtt(settings, name, _USER)
    try:
        try:
            client.connect()
        except LoginRefused as refusal:  # not about the device's credentials: there are none yet
            raise ProtocolError("the server has no provisioning, or not now (CONNACK %d)" % refusal.code)
        client.subscribe(_RESPONSE)
        client.publish(_REQUEST, request)
        deadline = time.ticks_add(time.ticks_ms(), settings.number("session.timeout_ms"))
        while True:
            left = time.ticks_diff(deadline, time.ticks_ms())
            if left <= 0:
                raise Timeout("no answer to the provisioning request")
            message = client.receive(left)
            if message and message[0] == _RESPONSE.encode():
                if message[1] is None:
                    raise ProtocolError("the answer has %d bytes: raise session.receive_bytes" % message[2])
                return message[1]
    finally:
        client.close()
