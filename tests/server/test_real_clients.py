"""A client that others wrote: paho-mqtt provisions, logs in and reports."""

import json
import queue
import threading

import pytest
from paho.mqtt.client import Client, MQTTv31, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from tests.server.packets import PROVISION_REQUEST, PROVISION_RESPONSE, TELEMETRY, request_body

WAIT_S = 10


class Paho:
    """A paho client, with what it heard in queues."""

    def __init__(self, server, username, protocol):
        self.codes, self.granted, self.heard = queue.Queue(), queue.Queue(), queue.Queue()
        self.gone = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id="paho", protocol=protocol, reconnect_on_failure=False
        )
        self.client.username_pw_set(username)
        self.client.on_connect = lambda _client, _data, _flags, reason, _properties: self.codes.put(reason.value)
        self.client.on_subscribe = lambda _client, _data, _id, reasons, _properties: self.granted.put(
            [reason.value for reason in reasons]
        )
        self.client.on_message = lambda _client, _data, message: self.heard.put((message.topic, message.payload))
        self.client.on_disconnect = lambda *_: self.gone.set()
        self.client.connect("127.0.0.1", server.ports.mqtt)
        self.client.loop_start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, topic, payload):
        self.client.publish(topic, payload, qos=1).wait_for_publish(WAIT_S)


@pytest.mark.parametrize("protocol", [MQTTv31, MQTTv311])
def test_paho_with_an_unknown_token_is_refused(server, protocol):
    with Paho(server, "unknown", protocol) as paho:
        assert paho.codes.get(timeout=WAIT_S) == 135  # paho's name for code 5 of 3.1.1
        assert paho.gone.wait(WAIT_S)


@pytest.mark.parametrize("protocol", [MQTTv31, MQTTv311])
def test_paho_provisions_and_reports(server, protocol):
    with Paho(server, "provision", protocol) as paho:
        assert paho.codes.get(timeout=WAIT_S) == 0
        paho.client.subscribe(PROVISION_RESPONSE, qos=1)
        assert paho.granted.get(timeout=WAIT_S) == [1]
        paho.publish(PROVISION_REQUEST, request_body(server.profile, deviceName="paho"))
        topic, payload = paho.heard.get(timeout=WAIT_S)
    answer = json.loads(payload)
    assert topic == PROVISION_RESPONSE
    assert (answer["status"], answer["credentialsType"]) == ("SUCCESS", "ACCESS_TOKEN")
    with Paho(server, answer["credentialsValue"], protocol) as paho:
        assert paho.codes.get(timeout=WAIT_S) == 0
        paho.client.subscribe("v1/devices/me/attributes", qos=1)
        assert paho.granted.get(timeout=WAIT_S) == [1]
        paho.publish(TELEMETRY, b'{"temperature":"21.5","door":"open"}')
        device = server.ask(lambda registry: registry.device("paho"))
        assert device.telemetry == {"temperature": 21.5, "door": "open"}
    assert paho.heard.empty()
