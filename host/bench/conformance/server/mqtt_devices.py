"""MQTT 3.1.1: sessions of devices that have their credentials."""

import json
import time
from collections.abc import Callable

from bench.conformance.check import Broken
from bench.conformance.server import mqtt_wire
from bench.conformance.server.answers import parsed
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.mqtt import SAMPLE, TELEMETRY, expect_granted
from bench.conformance.server.mqtt_wire import PUBACK, PUBLISH, REQUEST, RESPONSE, SUBACK, MqttConnection
from bench.conformance.server.subject import CheckedServer
from bench.mqtt import client_packets
from bench.mqtt.client_packets import publish

ATTRIBUTES = "v1/devices/me/attributes"
CALLS = "v1/devices/me/rpc/request/+"
_LARGE = 60_000
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # a server may limit how often it is asked

checks = CheckList()


@checks.add("mqtt.session.telemetry", "MQTT 3.1.1, 3.4.2; ThingsBoard: telemetry")
def _telemetry(server: CheckedServer) -> None:
    """Telemetry in its three forms is acknowledged, each with its packet id, in any order."""
    forms = (SAMPLE, b'{"ts":1700000000000,"values":{"conformance":2}}', b'[{"conformance":3},{"conformance":4}]')
    with mqtt_wire.session(server.addresses, server.token) as line:
        for packet_id, each in zip((1, 0x1234, 0xFFFF), forms, strict=True):
            line.send(publish(TELEMETRY, each, packet_id=packet_id))
        found = [line.expect(PUBACK).packet_id for _ in forms]
    if sorted(found) != [1, 0x1234, 0xFFFF]:
        raise Broken(f"PUBACK for {', '.join(map(hex, found))} instead of 0x1, 0x1234 and 0xffff")


@checks.add("mqtt.session.qos_0", "MQTT 3.1.1, 4.3.1")
def _qos_0(server: CheckedServer) -> None:
    """Telemetry with QoS 0 is taken without a word."""
    with mqtt_wire.session(server.addresses, server.token) as line:
        line.send(publish(TELEMETRY, SAMPLE, qos=0))
        line.expect_nothing_more()


@checks.add("mqtt.session.large_telemetry", "ThingsBoard: packets of at most 65536 bytes, unless set otherwise")
def _large_telemetry(server: CheckedServer) -> None:
    """Telemetry of 60000 bytes is acknowledged."""
    with mqtt_wire.session(server.addresses, server.token) as line:
        line.send(publish(TELEMETRY, json.dumps({"conformance": "x" * _LARGE}).encode()))
        _expect_puback(line, 1)


@checks.add("mqtt.session.subscriptions", "MQTT 3.1.1, 3.9; ThingsBoard: topics of a device")
def _subscriptions(server: CheckedServer) -> None:
    """Subscriptions to attributes and calls are granted, to what is not a device's refused, in the order asked."""
    with mqtt_wire.session(server.addresses, server.token) as line:
        expect_granted(line, 0xBEEF, [(ATTRIBUTES, 1), (RESPONSE, 1), (CALLS, 0)], [1, 0x80, 0])


@checks.add("mqtt.session.attributes", "ThingsBoard: attributes of a device")
def _attributes(server: CheckedServer) -> None:
    """An attribute that the device sent comes back when it asks for it."""
    value = server.new_name()
    with mqtt_wire.session(server.addresses, server.token) as line:
        line.send(client_packets.subscribe(1, (f"{ATTRIBUTES}/response/+", 0)))
        line.expect(SUBACK)
        line.send(publish(ATTRIBUTES, json.dumps({"conformance": value}).encode(), packet_id=2))
        _expect_puback(line, 2)

        def query(number: int) -> tuple[str, bytes]:
            line.send(publish(f"{ATTRIBUTES}/request/{number}", b'{"clientKeys":"conformance"}', qos=0))
            topic, payload = line.expect(PUBLISH).message
            if topic != f"{ATTRIBUTES}/response/{number}":
                raise Broken(f"the answer came on {topic} instead of {ATTRIBUTES}/response/{number}")
            return "the answer", payload

        await_attribute(server, value, query)


@checks.add("mqtt.session.newer_ends_older", "ThingsBoard: one session a device, unless set otherwise")
def _newer_ends_older(server: CheckedServer) -> None:
    """A second login with a token ends the first one's connection, and stays itself."""
    with (
        mqtt_wire.session(server.addresses, server.token) as older,
        mqtt_wire.session(server.addresses, server.token) as newer,
    ):
        older.expect_closed()
        newer.expect_nothing_more()


@checks.add("mqtt.session.no_provisioning", "ThingsBoard: provisioning over MQTT")
def _no_provisioning(server: CheckedServer) -> None:
    """A device that is logged in gets no answer to a provisioning request, and stays."""
    with mqtt_wire.session(server.addresses, server.token) as line:
        line.send(publish(REQUEST, server.request(" ")))
        _expect_puback(line, 1)
        line.expect_nothing_more()


def await_attribute(server: CheckedServer, value: str, query: Callable[[int], tuple[str, bytes]]) -> str:
    """Query until the attribute `conformance` is there: it may be stored some time after it was acknowledged.

    `query` gets the number of the question, from 1 on, and returns what the answer is called, and its body. Returns the
    last one's name; raises Broken.
    """
    deadline = time.monotonic() + server.addresses.patience_s
    number = 0
    while True:
        number += 1
        name, answer = query(number)
        if _attribute_in(answer) == value:
            return name
        if time.monotonic() > deadline:
            raise Broken(f"{name} never had the value: {answer.decode(errors='replace')}")
        time.sleep(min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** min(number, 10)))


def _attribute_in(answer: bytes) -> object:
    try:
        return parsed(answer)["client"]["conformance"]
    except (TypeError, LookupError):
        return None


def _expect_puback(line: MqttConnection, packet_id: int) -> None:
    found = line.expect(PUBACK).packet_id
    if found != packet_id:
        raise Broken(f"PUBACK for {found:#x} instead of {packet_id:#x}")
