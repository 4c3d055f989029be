"""The provisioning exchange over MQTT: one connection, one question, one answer."""

import time

from firstboot.errors import ProtocolError, Refused, Timeout
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings

_USER = "provision"
_REQUEST = "/provision/request"
_RESPONSE = "/provision/response"


def exchange(settings: Settings, name: str, request: str) -> bytes:
    """Ask on a connection of its own; the server answers on the asking connection only."""
    client = Mqtt(settings, name, _USER)
    try:
        try:
            client.connect()
        except Refused as refusal:  # says nothing about a device's credentials: there are none yet
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
                return message[1]
    finally:
        client.close()
