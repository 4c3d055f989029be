"""Clients that others wrote: each provisions, logs in with what it got, and does all a device can do."""

import asyncio
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future

import aiomqtt
import pytest
from paho.mqtt.client import Client, MQTTv5, MQTTv31, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from bench import paths
from tests.support.device_calls import share
from tests.support.gateways import new_gateway
from tests.support.mqtt_packets import (
    ATTRIBUTES,
    PROVISION_REQUEST,
    PROVISION_RESPONSE,
    TELEMETRY,
    request_body,
    stored,
)
from tests.support.operators import login, ok
from tests.support.packages import CONTENT, assign, new_package, upload

WAIT_S = 20
CLIENTS = paths.CHECKOUT / "build" / "clients"
ANSWERS = ATTRIBUTES + "/response/+"
CALLS = "v1/devices/me/rpc/request/+"
CALL_ANSWERS = "v1/devices/me/rpc/response/+"
CLAIM = "v1/devices/me/claim"

paho_versions = pytest.mark.parametrize(
    "protocol", [MQTTv31, MQTTv311, MQTTv5], ids=["MQTT 3.1", "MQTT 3.1.1", "MQTT 5"]
)


def device_id(server, name):
    token = server.query(lambda registry: registry.device(name)).credentials.id
    return server.query(lambda registry: registry.token_login(token)).id


def begin_call(server, name, method, params) -> Future:
    """An operator calls the device."""
    target = device_id(server, name)
    return server.submit(lambda api: api.presence.call(target, method, params, oneway=False, timeout_s=WAIT_S))


# paho-mqtt


class Paho:
    """A paho client, with what it heard in queues."""

    def __init__(self, server, username, protocol):
        self.codes, self.granted, self.received = queue.Queue(), queue.Queue(), queue.Queue()
        self.gone = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id="paho", protocol=protocol, reconnect_on_failure=False
        )
        self.client.username_pw_set(username)
        self.client.on_connect = lambda _client, _data, _flags, reason, _properties: self.codes.put(reason.value)
        self.client.on_subscribe = lambda _client, _data, _id, reasons, _properties: self.granted.put(
            [reason.value for reason in reasons]
        )
        self.client.on_message = lambda _client, _data, message: self.received.put((message.topic, message.payload))
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

    def subscribe(self, *topics):
        self.client.subscribe([(topic, 1) for topic in topics])
        assert self.granted.get(timeout=WAIT_S) == [1] * len(topics)

    def next(self):
        topic, payload = self.received.get(timeout=WAIT_S)
        return topic, json.loads(payload)


@paho_versions
def test_paho_with_an_unknown_token_is_refused(server, protocol):
    with Paho(server, "unknown", protocol) as paho:
        # paho has names of its own for the codes before MQTT 5
        assert paho.codes.get(timeout=WAIT_S) == (0x86 if protocol == MQTTv5 else 0x87)
        assert paho.gone.wait(WAIT_S)


@paho_versions
def test_paho_provisions_and_does_all_a_device_can_do(server, protocol):
    with Paho(server, "provision", protocol) as paho:
        assert paho.codes.get(timeout=WAIT_S) == 0
        paho.subscribe(PROVISION_RESPONSE)
        paho.publish(PROVISION_REQUEST, request_body(server.profile, deviceName="paho"))
        topic, answer = paho.next()
    assert topic == PROVISION_RESPONSE
    assert (answer["status"], answer["credentialsType"]) == ("SUCCESS", "ACCESS_TOKEN")
    with Paho(server, answer["credentialsValue"], protocol) as paho:
        assert paho.codes.get(timeout=WAIT_S) == 0
        paho.subscribe(ATTRIBUTES, ANSWERS, CALLS, CALL_ANSWERS)
        paho.publish(TELEMETRY, b'{"temperature":"21.5","door":"open"}')
        paho.publish(ATTRIBUTES, b'{"serial":7}')
        assert stored(server, "paho") == ({"temperature": 21.5, "door": "open"}, {"serial": 7})
        share(server, device_id(server, "paho"), {"limit": 3})
        assert paho.next() == (ATTRIBUTES, {"limit": 3})
        paho.publish(ATTRIBUTES + "/request/1", b"{}")
        assert paho.next() == (ATTRIBUTES + "/response/1", {"client": {"serial": 7}, "shared": {"limit": 3}})
        answer = begin_call(server, "paho", "reboot", {"delay": 1})
        assert paho.next() == ("v1/devices/me/rpc/request/0", {"method": "reboot", "params": {"delay": 1}})
        paho.publish("v1/devices/me/rpc/response/0", b'{"ok":true}')
        assert answer.result(WAIT_S) == {"ok": True}
        paho.publish("v1/devices/me/rpc/request/5", b'{"method":"nobody knows","params":{}}')
        paho.publish("v1/devices/me/rpc/request/6", b'{"method":"echo","params":{"a":1}}')
        assert paho.next() == ("v1/devices/me/rpc/response/6", {"a": 1})
        paho.publish(CLAIM, b'{"secretKey":"s","durationMs":60000}')
        assert server.wait_for("claim")["result"] == "offered"
    assert paho.received.empty()


# aiomqtt


@pytest.mark.parametrize("protocol", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
def test_aiomqtt_provisions_reports_and_is_called(server, protocol):
    async def session(username, *topics, publish, answer=None):
        """Subscribe, publish, and return the first message, answered."""
        async with aiomqtt.Client(
            "127.0.0.1", server.ports.mqtt, username=username, protocol=protocol, timeout=WAIT_S
        ) as client:
            for topic in topics:
                await client.subscribe(topic, qos=1)
            for topic, payload in publish:
                await client.publish(topic, payload, qos=1)
            async with asyncio.timeout(WAIT_S):
                message = await anext(client.messages)
            if answer is not None:
                await client.publish(str(message.topic).replace("request", "response"), answer, qos=1)
            return str(message.topic), json.loads(message.payload)

    provisioning = (PROVISION_REQUEST, request_body(server.profile, deviceName="aiomqtt"))
    topic, answer = asyncio.run(session("provision", PROVISION_RESPONSE, publish=[provisioning]))
    assert (topic, answer["status"]) == (PROVISION_RESPONSE, "SUCCESS")
    call = begin_call(server, "aiomqtt", "reboot", None)
    report = (TELEMETRY, b'{"temperature":21.5}')
    received = asyncio.run(session(answer["credentialsValue"], CALLS, publish=[report], answer=b"1"))
    assert received == ("v1/devices/me/rpc/request/0", {"method": "reboot", "params": None})
    assert call.result(WAIT_S) == 1
    assert stored(server, "aiomqtt")[0] == {"temperature": 21.5}


# mosquitto's commands


def mosquitto(command, server, *arguments):
    path = shutil.which(command)
    if path is None:
        pytest.skip(f"{command} is not installed (Debian: mosquitto-clients)")
    common = ("-h", "127.0.0.1", "-p", str(server.ports.mqtt))
    return subprocess.run([path, *common, *arguments], capture_output=True, timeout=WAIT_S, check=False)


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
def test_mosquitto_provisions_reports_and_is_called(server, version):
    as_ = ("-V", version, "-q", "1", "-u")
    request = request_body(server.profile, deviceName="mosquitto", token="T1").decode()
    provisioning = ("-t", PROVISION_REQUEST, "-m", request)
    assert mosquitto("mosquitto_pub", server, *as_, "provision", *provisioning).returncode == 0
    assert mosquitto("mosquitto_pub", server, *as_, "unknown", "-t", TELEMETRY, "-m", "{}").returncode != 0
    assert mosquitto("mosquitto_pub", server, *as_, "T1", "-t", TELEMETRY, "-m", '{"a":1}').returncode == 0
    assert mosquitto("mosquitto_pub", server, *as_, "T1", "-q", "0", "-t", TELEMETRY, "-m", '{"b":2}').returncode == 0
    server.wait_for("telemetry", keys=["b"])
    assert stored(server, "mosquitto")[0] == {"a": 1, "b": 2}
    call = begin_call(server, "mosquitto", "reboot", {})
    received = mosquitto("mosquitto_sub", server, *as_, "T1", "-C", "1", "-F", "%t %p", "-t", CALLS)
    assert received.stdout == b'v1/devices/me/rpc/request/0 {"method":"reboot","params":{}}\n'
    answer = ("-t", "v1/devices/me/rpc/response/0", "-m", "1")
    assert mosquitto("mosquitto_pub", server, *as_, "T1", *answer).returncode == 0
    assert call.result(WAIT_S) == 1


# ThingsBoard's own client: another paho, and modules of its own, so it runs in a process of its own.

THINGSBOARD = """
import json, queue, sys, types
# what it misses (for checksums of firmware) it would install
sys.modules["mmh3"] = types.SimpleNamespace(hash=None, hash128=None)
from tb_device_mqtt import TBDeviceMqttClient

def say(**found):
    print(json.dumps(found), flush=True)

port, key, secret = int(sys.argv[1]), sys.argv[2], sys.argv[3]
credentials = TBDeviceMqttClient.provision("127.0.0.1", key, secret, port=port, device_name="tb", access_token="TB1")
say(credentials=credentials)
heard = queue.Queue()
client = TBDeviceMqttClient("127.0.0.1", port, "TB1")

def on_call(number, body):
    heard.put(body)
    client.send_rpc_reply(number, {"ok": 1})

client.set_server_side_rpc_request_handler(on_call)
client.connect(timeout=20)
while not client.is_connected():
    pass
client.subscribe_to_all_attributes(lambda result, *_: heard.put(result))
say(telemetry=client.send_telemetry({"temperature": 21.5}).get())
say(attributes=client.send_attributes({"serial": 7}).get())
client.request_attributes(["serial"], ["limit"], callback=lambda result, *_: heard.put(result))
say(answer=heard.get(timeout=20))
say(heard=heard.get(timeout=20))
say(heard=heard.get(timeout=20))
client.send_rpc_call("echo", {"a": 1}, lambda _number, result, _error: heard.put(result))
say(echo=heard.get(timeout=20))
client.claim("s", 60000).get()
say(claimed=True)
client.disconnect()
client.stop()
"""


UPDATED = """
import json, queue, sys
from tb_device_mqtt import TBDeviceMqttClient

def say(**found):
    print(json.dumps(found), flush=True)

received = queue.Queue()
client = TBDeviceMqttClient("127.0.0.1", int(sys.argv[1]), "T1", chunk_size=1000)
client.set_on_firmware_received_callback(lambda client, data, version: received.put((data, version)))
client.connect(timeout=20)
while not client.is_connected():
    pass
client.get_firmware_update()
data, version = received.get(timeout=20)
say(data=data.hex(), version=version, state=client.current_firmware_info["fw_state"])
client.disconnect()
client.stop()
"""


@pytest.mark.skipif(not CLIENTS.exists(), reason="ThingsBoard's clients are not installed (build/clients)")
@pytest.mark.parametrize("algorithm", ["SHA256", "CRC32", "MURMUR3_32", "MURMUR3_128"])
def test_thingsboards_client_fetches_and_verifies_its_firmware(server, algorithm):
    with login(server) as operator:
        device = ok(operator.post("/api/device", params={"accessToken": "T1"}, json={"name": "press-1"}))
        package = new_package(operator, None, title="press", version="1.1")
        assign(operator, device, upload(operator, package, algorithm=algorithm))
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS), "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-c", UPDATED, str(server.ports.mqtt)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"data": CONTENT.hex(), "version": "1.1", "state": "VERIFIED"}


GATEWAY = """
import json, queue, sys, types
sys.modules["mmh3"] = types.SimpleNamespace(hash=None, hash128=None)
from tb_gateway_mqtt import TBGatewayMqttClient

def say(**found):
    print(json.dumps(found), flush=True)

heard = queue.Queue()
gateway = TBGatewayMqttClient("127.0.0.1", int(sys.argv[1]), "GW1")

def on_call(client, content):
    heard.put(content)
    client.gw_send_rpc_reply(content["device"], content["data"]["id"], {"ok": 1})

gateway.gw_set_server_side_rpc_request_handler(on_call)
gateway.connect(timeout=20)
while not gateway.is_connected():
    pass
say(connected=gateway.gw_connect_device("sub", "sensors").get())
gateway.gw_subscribe_to_all_device_attributes("sub", heard.put)
say(telemetry=gateway.gw_send_telemetry("sub", [{"ts": 5, "values": {"temperature": 21.5}}, {"door": "open"}]).get())
say(attributes=gateway.gw_send_attributes("sub", {"serial": 7, "room": 1}).get())
gateway.gw_request_client_attributes("sub", ["serial", "room"], lambda result, *_: heard.put(result))
say(heard=heard.get(timeout=20))
say(heard=heard.get(timeout=20))
say(heard=heard.get(timeout=20))
say(claimed=gateway.gw_claim("sub", "s", 60000).get())
say(disconnected=gateway.gw_disconnect_device("sub").get())
gateway.disconnect()
gateway.stop()
"""


@pytest.mark.skipif(not CLIENTS.exists(), reason="ThingsBoard's clients are not installed (build/clients)")
def test_thingsboards_gateway_client_does_all_that_it_can_do(server):
    new_gateway(server, "GW1")
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS), "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-c", GATEWAY, str(server.ports.mqtt)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        reports = (json.loads(line) for line in process.stdout)
        overdue = threading.Timer(2 * WAIT_S, process.kill)
        overdue.start()
        try:
            assert [next(reports) for _ in range(3)] == [{"connected": 0}, {"telemetry": 0}, {"attributes": 0}]
            answer = next(reports)["heard"]
            assert (answer["device"], answer["values"]) == ("sub", {"room": 1, "serial": 7})
            share(server, device_id(server, "sub"), {"limit": 3})
            assert next(reports) == {"heard": {"device": "sub", "data": {"limit": 3}}}
            call = begin_call(server, "sub", "reboot", {"delay": 1})
            data = {"id": 0, "method": "reboot", "params": {"delay": 1}}
            assert next(reports) == {"heard": {"device": "sub", "data": data}}
            assert call.result(WAIT_S) == {"ok": 1}
            assert [next(reports) for _ in range(2)] == [{"claimed": 0}, {"disconnected": 0}]
            assert server.wait_for("claim", device="sub")["result"] == "offered"
            assert process.wait(WAIT_S) == 0
        except StopIteration:
            pytest.fail(process.stderr.read())
        finally:
            overdue.cancel()
            process.kill()
    assert stored(server, "sub") == ({"temperature": 21.5, "door": "open"}, {"serial": 7, "room": 1})
    assert server.query(lambda registry: registry.device("sub")).profile == "sensors"


@paho_versions
def test_paho_is_a_gateway(server, protocol):
    new_gateway(server, "GW1")
    with Paho(server, "GW1", protocol) as paho:
        assert paho.codes.get(timeout=WAIT_S) == 0
        paho.subscribe("v1/gateway/attributes", "v1/gateway/attributes/response", "v1/gateway/rpc")
        paho.publish("v1/gateway/connect", b'{"device":"a","type":"sensors"}')
        paho.publish("v1/gateway/telemetry", b'{"a":[{"t":1}],"b":[{"t":2}]}')
        paho.publish("v1/gateway/attributes", b'{"a":{"serial":7}}')
        assert stored(server, "a") == ({"t": 1}, {"serial": 7})
        assert stored(server, "b") == ({"t": 2}, {})
        share(server, device_id(server, "b"), {"limit": 3})
        assert paho.next() == ("v1/gateway/attributes", {"device": "b", "data": {"limit": 3}})
        paho.publish("v1/gateway/attributes/request", b'{"id":1,"device":"a","client":true,"key":"serial"}')
        assert paho.next() == ("v1/gateway/attributes/response", {"id": 1, "device": "a", "value": 7})
        answer = begin_call(server, "b", "reboot", None)
        data = {"id": 0, "method": "reboot", "params": None}
        assert paho.next() == ("v1/gateway/rpc", {"device": "b", "data": data})
        paho.publish("v1/gateway/rpc", b'{"device":"b","id":0,"data":{"ok":true}}')
        assert answer.result(WAIT_S) == {"ok": True}
        paho.publish("v1/gateway/claim", b'{"a":{"secretKey":"s","durationMs":60000}}')
        assert server.wait_for("claim", device="a")["result"] == "offered"
        paho.publish("v1/gateway/disconnect", b'{"device":"a"}')
        assert server.wait_for("offline", device="a")


@pytest.mark.skipif(not CLIENTS.exists(), reason="ThingsBoard's clients are not installed (build/clients)")
def test_thingsboards_client_provisions_and_does_all_a_device_can_do(server):
    profile = server.profile
    arguments = [str(server.ports.mqtt), profile.provision_key, profile.provision_secret]
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS), "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-c", THINGSBOARD, *arguments]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        reports = (json.loads(line) for line in process.stdout)
        overdue = threading.Timer(2 * WAIT_S, process.kill)
        overdue.start()
        try:
            provisioned = {"credentialsValue": "TB1", "credentialsType": "ACCESS_TOKEN", "status": "SUCCESS"}
            assert next(reports) == {"credentials": provisioned}
            assert next(reports) == {"telemetry": 0}
            assert next(reports) == {"attributes": 0}
            assert next(reports) == {"answer": {"client": {"serial": 7}}}
            share(server, device_id(server, "tb"), {"limit": 3})
            assert next(reports) == {"heard": {"limit": 3}}
            call = begin_call(server, "tb", "reboot", {"delay": 1})
            assert next(reports) == {"heard": {"method": "reboot", "params": {"delay": 1}}}
            assert call.result(WAIT_S) == {"ok": 1}
            assert next(reports) == {"echo": {"a": 1}}
            assert next(reports) == {"claimed": True}
            assert server.wait_for("claim")["result"] == "offered"
            assert process.wait(WAIT_S) == 0
        except StopIteration:
            pytest.fail(process.stderr.read())
        finally:
            overdue.cancel()
            process.kill()
    assert stored(server, "tb") == ({"temperature": 21.5}, {"serial": 7})
