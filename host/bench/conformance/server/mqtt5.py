"""MQTT 5, where it differs: the server says why."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.conformance.check import Broken, NotHere
from bench.conformance.server import mqtt_wire
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.mqtt import SAMPLE, TELEMETRY
from bench.conformance.server.mqtt_wire import (
    DISCONNECT,
    PROVISION,
    PUBACK,
    PUBLISH,
    REQUEST,
    RESPONSE,
    SUBACK,
    MqttConnection,
)
from bench.conformance.server.subject import CheckedServer
from bench.mqtt import client_packets

_PROVISIONING = "ThingsBoard: provisioning over MQTT 5"
_REFUSALS = (0x86, 0x87)
_LEVEL_REFUSED = (1, 0x84)
_TOPIC_INVALID, _FORMAT_INVALID = 0x90, 0x99

checks = CheckList()


@checks.add("mqtt5.connect.provision", _PROVISIONING)
def _provision(server: CheckedServer) -> None:
    """CONNECT with the user name `provision` is let in, and pings are answered."""
    with _session(server, PROVISION) as line:
        line.expect_nothing_more()


@checks.add("mqtt5.connect.unknown_token", "MQTT 5, 3.2.2.2; ThingsBoard: logins over MQTT, where it is 0x86")
def _unknown_token(server: CheckedServer) -> None:
    """A token that no device has is refused with CONNACK 0x86 or 0x87, and the connection closed."""
    _expect_spoken(server)
    with mqtt_wire.opened(server.addresses, level=5) as line:
        code = mqtt_wire.login(line, "", server.new_token())
        if code not in _REFUSALS:
            raise Broken(f"CONNACK {code:#x} instead of 0x86 or 0x87")
        line.expect_closed()


@checks.add("mqtt5.provision.answer", _PROVISIONING)
def _answer(server: CheckedServer) -> None:
    """A request is acknowledged with its packet id and without an error, and answered."""
    with _session(server, PROVISION) as line:
        line.send(_publish(REQUEST, server.request(" "), packet_id=0x4321))
        _expect_puback(line, 0x4321, 0)
        server.read(line.answer().message[1], " ")


@checks.add("mqtt5.provision.other_subscriptions", _PROVISIONING)
def _other_subscriptions(server: CheckedServer) -> None:
    """A subscription to the answer is granted, another refused with a reason, and the session goes on."""
    with _session(server, PROVISION) as line:
        line.send(client_packets.subscribe(7, (RESPONSE, 1), ("#", 1), level=5))
        suback = line.expect(SUBACK)
        if suback.packet_id != 7 or len(suback.codes) != 2 or suback.codes[0] != 1 or suback.codes[1] < 0x80:
            raise Broken(f"SUBACK for {suback.packet_id} says {suback.codes} instead of 1 and an error (0x8f), for 7")
        line.expect_nothing_more()


@checks.add("mqtt5.provision.unreadable", _PROVISIONING)
def _unreadable(server: CheckedServer) -> None:
    """A request with QoS 1 that is not a JSON object is told so with PUBACK 0x99, and the session goes on."""
    with _session(server, PROVISION) as line:
        line.send(_publish(REQUEST, b"{"))
        _expect_puback(line, 1, _FORMAT_INVALID)
        line.expect_nothing_more()


@checks.add("mqtt5.provision.missing_field", _PROVISIONING)
def _missing_field(server: CheckedServer) -> None:
    """A request without a secret gets PUBACK with an error (0x83), DISCONNECT, the end."""
    with _session(server, PROVISION) as line:
        line.send(_publish(REQUEST, server.request(server.new_name(), provisionDeviceSecret=...)))
        _expect_thrown_out(line, 0)


@checks.add("mqtt5.provision.no_telemetry", _PROVISIONING)
def _no_telemetry(server: CheckedServer) -> None:
    """A device that publishes anything but a request gets PUBACK 0x90, DISCONNECT, the end."""
    with _session(server, PROVISION) as line:
        line.send(_publish(TELEMETRY, SAMPLE))
        _expect_thrown_out(line, _TOPIC_INVALID)


@checks.add("mqtt5.session.telemetry", "MQTT 5, 3.4.2")
def _telemetry(server: CheckedServer) -> None:
    """Telemetry is acknowledged without an error; a topic that does not exist is 0x90, and the session goes on."""
    with _session(server, server.token) as line:
        line.send(_publish(TELEMETRY, SAMPLE, packet_id=0x1234))
        _expect_puback(line, 0x1234, 0)
        line.send(_publish("nobody/listens", SAMPLE, packet_id=2))
        _expect_puback(line, 2, _TOPIC_INVALID)
        line.expect_nothing_more()


@contextmanager
def _session(server: CheckedServer, username: str) -> Iterator[MqttConnection]:
    _expect_spoken(server)
    with mqtt_wire.session(server.addresses, username, level=5) as line:
        yield line


def _expect_spoken(server: CheckedServer) -> None:
    with mqtt_wire.opened(server.addresses, level=5) as line:
        line.send(client_packets.connect("", PROVISION, level=5))
        answer = line.receive()
    if answer is None or (answer.kind == mqtt_wire.CONNACK and answer.code in _LEVEL_REFUSED):
        raise NotHere("the server does not speak MQTT 5")


def _publish(topic: str, payload: bytes, *, packet_id: int = 1) -> bytes:
    return client_packets.publish(topic, payload, packet_id=packet_id, level=5)


def _expect_puback(line: MqttConnection, packet_id: int, code: int) -> None:
    found = line.expect(PUBACK)
    if (found.packet_id, found.code) != (packet_id, code):
        raise Broken(f"PUBACK {found.code:#x} for {found.packet_id:#x} instead of {code:#x} for {packet_id:#x}")


def _expect_thrown_out(line: MqttConnection, code: int) -> None:
    """Expect PUBACK with this code (0 for any error), DISCONNECT with an error, and the end. Raises Broken."""
    packets = line.expect_closed()
    if any(each.kind == PUBLISH for each in packets):
        raise Broken("it was answered")
    acknowledged = [each.code for each in packets if each.kind == PUBACK]
    if not acknowledged or acknowledged[0] < 0x80 or (code and acknowledged[0] != code):
        raise Broken(f"PUBACK {', '.join(map(hex, acknowledged)) or 'never came'} instead of {hex(code or 0x83)}")
    if packets[-1].kind != DISCONNECT or packets[-1].code < 0x80:
        raise Broken(f"{packets[-1]} was the last word instead of DISCONNECT with an error")
