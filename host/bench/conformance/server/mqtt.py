"""MQTT 3.1.1: connections, and sessions that ask for credentials."""

from bench.conformance.check import Broken
from bench.conformance.server import mqtt_wire
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.mqtt_wire import PROVISION, PUBACK, PUBLISH, REQUEST, RESPONSE, SUBACK, MqttConnection
from bench.conformance.server.subject import CheckedServer
from bench.mqtt import client_packets
from bench.mqtt.client_packets import publish

TELEMETRY = "v1/devices/me/telemetry"
SAMPLE = b'{"conformance":1}'
_PROVISIONING = "ThingsBoard: provisioning over MQTT"
_LOGINS = "ThingsBoard: logins over MQTT"
_BAD_NAME, _NOT_AUTHORISED, _BAD_CLIENT_ID = 4, 5, 2

checks = CheckList()


# Connections.


@checks.add("mqtt.connect.user_name_provision", _PROVISIONING)
def _user_name_provision(server: CheckedServer) -> None:
    """CONNECT with the user name `provision`, no password and no client id is let in."""
    with mqtt_wire.opened(server.addresses) as line:
        _expect_in(mqtt_wire.login(line, "", PROVISION))


@checks.add("mqtt.connect.client_id_provision", _PROVISIONING)
def _client_id_provision(server: CheckedServer) -> None:
    """CONNECT with the client id `provision` and no user name is let in."""
    with mqtt_wire.opened(server.addresses) as line:
        _expect_in(mqtt_wire.login(line, PROVISION))
        line.send(publish(REQUEST, server.request(" ")))
        server.read(line.answer().message[1], " ")


@checks.add("mqtt.connect.provision_to_the_letter", _PROVISIONING)
def _provision_to_the_letter(server: CheckedServer) -> None:
    """`Provision` is a user name like any other: refused."""
    with mqtt_wire.opened(server.addresses) as line:
        _expect_refused(line, mqtt_wire.login(line, "a-device", "Provision"), _NOT_AUTHORISED, _BAD_NAME)


@checks.add("mqtt.connect.unknown_token", "MQTT 3.1.1, 3.2.2.3; ThingsBoard: logins over MQTT, where it is 5")
def _unknown_token(server: CheckedServer) -> None:
    """A token that no device has is refused with CONNACK 5 or 4, and the connection closed."""
    with mqtt_wire.opened(server.addresses) as line:
        _expect_refused(line, mqtt_wire.login(line, "", server.new_token()), _NOT_AUTHORISED, _BAD_NAME)


@checks.add("mqtt.connect.unknown_client_id", _LOGINS)
def _unknown_client_id(server: CheckedServer) -> None:
    """A client id alone that no device has is refused with CONNACK 2 (or 5), and the connection closed."""
    with mqtt_wire.opened(server.addresses) as line:
        _expect_refused(line, mqtt_wire.login(line, server.new_token()), _BAD_CLIENT_ID, _NOT_AUTHORISED)


@checks.add("mqtt.connect.unknown_level", "MQTT 3.1.1, 3.1.2.2")
def _unknown_level(server: CheckedServer) -> None:
    """A CONNECT of MQTT level 6 is not let in, and the connection closed."""
    with mqtt_wire.opened(server.addresses) as line:
        line.send(client_packets.connect("", PROVISION, level=6))
        for packet in line.expect_closed():
            if packet.kind == mqtt_wire.CONNACK and not packet.code:
                raise Broken("it was let in")


@checks.add("mqtt.connect.disconnect_closes", "MQTT 3.1.1, 3.14.4")
def _disconnect_closes(server: CheckedServer) -> None:
    """After DISCONNECT the server closes."""
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        line.send(client_packets.DISCONNECT)
        line.expect_closed()


@checks.add("mqtt.connect.malformed_closes", "MQTT 3.1.1, 2.2.3 and 4.8")
def _malformed_closes(server: CheckedServer) -> None:
    """A packet whose length has five bytes closes the connection, and no other one."""
    with mqtt_wire.session(server.addresses, PROVISION) as other:
        with mqtt_wire.session(server.addresses, PROVISION) as line:
            line.send(b"\x30\xff\xff\xff\xff\x01")
            line.expect_closed()
        other.expect_nothing_more()


@checks.add("mqtt.connect.endless_packet_closes", "ThingsBoard: packets of at most 65536 bytes, unless set otherwise")
def _endless_packet_closes(server: CheckedServer) -> None:
    """A packet that says it has 256 MiB closes the connection, before it is there."""
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        line.send(b"\x32\xff\xff\xff\x7f\x00\x12" + REQUEST.encode() + b"\x00\x01" + bytes(1000))
        line.expect_closed()


@checks.add("mqtt.connect.ping", "MQTT 3.1.1, 3.12.4")
def _ping(server: CheckedServer) -> None:
    """PINGREQ is answered with PINGRESP."""
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        line.expect_nothing_more()


# Provision sessions. Most ask for a blank name: that is FAILURE, makes no device and is no guess at a secret.


@checks.add("mqtt.provision.puback_has_the_id", "MQTT 3.1.1, 3.4.2")
def _puback_has_the_id(server: CheckedServer) -> None:
    """A request with QoS 1 is acknowledged with its packet id, and answered; with QoS 0 it is answered."""
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        line.send(publish(REQUEST, server.request(" "), packet_id=0x4321))
        received = [line.receive(), line.receive()]
        acknowledged = [each.packet_id for each in received if each and each.kind == PUBACK]
        if acknowledged != [0x4321]:
            raise Broken(f"PUBACK for {', '.join(map(hex, acknowledged)) or 'nothing'} instead of 0x4321")
        if not any(each and each.kind == PUBLISH for each in received):
            raise Broken("no answer came")
        line.send(publish(REQUEST, server.request(" "), qos=0))
        line.expect(PUBLISH)


@checks.add("mqtt.provision.answer_without_subscription", _PROVISIONING)
def _answer_without_subscription(server: CheckedServer) -> None:
    """The answer comes on /provision/response, subscribed to or not, not retained and with QoS 1 at most."""
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        line.send(publish(REQUEST, server.request(" "), qos=0))
        answer = line.expect(PUBLISH)
        if answer.message[0] != RESPONSE:
            raise Broken(f"it came on {answer.message[0]}")
        if answer.flags & 1 or answer.qos > 1:
            raise Broken(f"its flags are {answer.flags:#x}")
        if answer.qos and not answer.own_id:
            raise Broken("its packet id is 0")


@checks.add("mqtt.provision.subscription_is_granted", "MQTT 3.1.1, 3.9; ThingsBoard: provisioning over MQTT")
def _subscription_is_granted(server: CheckedServer) -> None:
    """A subscription to /provision/response is granted, its SUBACK has its id, and the answer comes with its QoS."""
    for qos in (0, 1):
        with mqtt_wire.session(server.addresses, PROVISION) as line:
            expect_granted(line, 0x1230 + qos, [(RESPONSE, qos)], [qos])
            line.send(publish(REQUEST, server.request(" "), qos=0))
            if (found := line.expect(PUBLISH).qos) != qos:
                raise Broken(f"the answer has QoS {found} instead of {qos}")


@checks.add("mqtt.provision.other_subscriptions", _PROVISIONING)
def _other_subscriptions(server: CheckedServer) -> None:
    """Other subscriptions are refused with 0x80, `#` as well, and the session goes on."""
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        for packet_id, topic in enumerate(("#", "/provision/#", REQUEST, TELEMETRY), 1):
            expect_granted(line, packet_id, [(topic, 1)], [0x80])
        line.expect_nothing_more()


@checks.add("mqtt.provision.asks_again", _PROVISIONING)
def _requests_again(server: CheckedServer) -> None:
    """After an answer the session stays, and the next request is answered, too."""
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        for _ in range(3):
            line.send(publish(REQUEST, server.request(" ")))
            line.answer()
        line.expect_nothing_more()


@checks.add("mqtt.provision.asking_connection_only", "ThingsBoard: a gateway for devices and no broker")
def _asking_connection_only(server: CheckedServer) -> None:
    """The answer goes to the connection that asked, and to no other, though it subscribed to the same topic."""
    with (
        mqtt_wire.session(server.addresses, PROVISION) as asking,
        mqtt_wire.session(server.addresses, PROVISION) as other,
    ):
        for line in (asking, other):
            line.send(client_packets.subscribe(1, (RESPONSE, 1)))
            line.expect(SUBACK)
        asking.send(publish(REQUEST, server.request(" ")))
        asking.answer()
        _expect_nothing_published(other)


@checks.add("mqtt.provision.request_is_no_publication", "ThingsBoard: a gateway for devices and no broker")
def _request_is_no_publication(server: CheckedServer) -> None:
    """A publication of a device, its secret in it, reaches no other connection, whatever that tried to subscribe to."""
    with (
        mqtt_wire.session(server.addresses, PROVISION) as asking,
        mqtt_wire.session(server.addresses, PROVISION) as other,
    ):
        other.send(client_packets.subscribe(1, ("#", 1), (REQUEST, 1)))
        other.expect(SUBACK)
        asking.send(publish(REQUEST, server.request(" ")))
        asking.answer()
        _expect_nothing_published(other)


@checks.add("mqtt.provision.no_telemetry", _PROVISIONING)
def _no_telemetry(server: CheckedServer) -> None:
    """A device that publishes anything but a request is thrown out."""
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        line.send(publish(TELEMETRY, SAMPLE))
        line.expect_closed()


@checks.add("mqtt.provision.connects_again", "MQTT 3.1.1, 3.1.0-2, closes; ThingsBoard: a provision session stays one")
def _connects_again(server: CheckedServer) -> None:
    """A second CONNECT, with a device's token, opens nothing: it closes, or telemetry after it does."""
    token = server.token
    with mqtt_wire.session(server.addresses, PROVISION) as line:
        line.send(client_packets.connect("", token) + publish(TELEMETRY, SAMPLE))
        line.expect_closed()


@checks.add("mqtt.provision.unreadable", _PROVISIONING)
def _unreadable(server: CheckedServer) -> None:
    """A request that is not a JSON object closes its connection without an answer, and no other one."""
    for request in (b"{", b"[]", b'{"deviceName":', b"\xff\xfe"):
        with mqtt_wire.session(server.addresses, PROVISION) as other:
            with mqtt_wire.session(server.addresses, PROVISION) as line:
                line.send(publish(REQUEST, request))
                _expect_no_answer(line)
            other.expect_nothing_more()


@checks.add("mqtt.provision.missing_field", _PROVISIONING)
def _missing_field(server: CheckedServer) -> None:
    """A request without a secret, or with null for a name, closes its connection without an answer."""
    for request in (server.request(server.new_name(), provisionDeviceSecret=...), server.request("", deviceName=None)):
        with mqtt_wire.session(server.addresses, PROVISION) as line:
            line.send(publish(REQUEST, request))
            _expect_no_answer(line)


def _expect_in(code: int) -> None:
    if code:
        raise Broken(f"CONNACK {code} instead of 0")


def _expect_refused(line: MqttConnection, code: int, *codes: int) -> None:
    if code not in codes:
        raise Broken(f"CONNACK {code} instead of {' or '.join(map(str, codes))}")
    line.expect_closed()


def expect_granted(line: MqttConnection, packet_id: int, filters: list[tuple[str, int]], codes: list[int]) -> None:
    """Subscribe, and expect these codes and the same packet id. Raises Broken."""
    line.send(client_packets.subscribe(packet_id, *filters))
    suback = line.expect(SUBACK)
    if suback.packet_id != packet_id:
        raise Broken(f"SUBACK for {suback.packet_id:#x} instead of {packet_id:#x}")
    if suback.codes != codes:
        wanted = ", ".join(f"{topic} (QoS {qos})" for topic, qos in filters)
        raise Broken(f"SUBACK to {wanted} says {suback.codes} instead of {codes}")


def _expect_nothing_published(line: MqttConnection) -> None:
    line.send(client_packets.PING)
    if (packet := line.receive()) is not None and packet.kind == PUBLISH:
        raise Broken(f"another connection was told on {packet.message[0]}")


def _expect_no_answer(line: MqttConnection) -> None:
    if any(each.kind == PUBLISH for each in line.expect_closed()):
        raise Broken("it was answered")
