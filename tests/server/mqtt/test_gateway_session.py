"""The session of a gateway, topic by topic for each version: raw packets in, exact packets out."""

import json
from contextlib import contextmanager

import pytest

from bench.registry import audit, device_room, sub_devices
from bench.registry.model import SERVER_SCOPE
from bench.server.mqtt import gateway_session, listener
from bench.server.presence import CallUnanswered, SessionEnd
from tests.support import operators
from tests.support.device_calls import begin_call, share
from tests.support.gateways import (
    ATTRIBUTES,
    CLAIM,
    CONNECT,
    DISCONNECT,
    REQUEST,
    RESPONSE,
    RPC,
    TELEMETRY,
    TOPICS,
    device_id,
    find,
    make,
    new_gateway,
    received,
    send,
)
from tests.support.mqtt_packets import PINGREQ, PINGRESP, VERSIONS, device_session, expect_end, expect_open, stored

ONE = {
    CONNECT: {"device": "NAME"},
    DISCONNECT: {"device": "NAME"},
    TELEMETRY: {"NAME": [{"a": 1}]},
    ATTRIBUTES: {"NAME": {"a": 1}},
    CLAIM: {"NAME": {}},
    REQUEST: {"id": 1, "device": "NAME", "client": True, "key": "a"},
    RPC: {"device": "NAME", "id": 1, "data": {}},
}
"""A good message of each topic, about one device."""


def about(topic, name):
    """Return a good message about a device, as JSON."""
    return json.dumps(ONE[topic]).replace('"NAME"', json.dumps(name)).encode()


@pytest.fixture
def token():
    """A gateway's name, and its token."""
    return operators.name("gateway")


@pytest.fixture
def client(shared_server, v, token):
    """A gateway that is logged in."""
    new_gateway(shared_server, token)
    with device_session(shared_server, v, token) as client:
        yield client


@pytest.fixture
def sub(token):
    """The name of a device behind the gateway."""
    return f"behind {token}"


def is_connected(server, name):
    found = device_id(server, name)

    async def look(api):
        return api.presence.is_connected(found)

    return server.call(look)


# Who is no gateway.


@pytest.mark.parametrize("gateway", [False, None, "yes", "TRUE", 0, 1.5, {}, [True]])
def test_device_that_is_no_gateway_is_not_even_acknowledged(shared_server, v, token, gateway):
    new_gateway(shared_server, token, gateway=gateway)
    with device_session(shared_server, v, token) as client:
        client.send(b"".join(v.publish(topic, about(topic, "x"), qos=qos) for topic in TOPICS for qos in (0, 1)))
        expect_open(client)
    assert find(shared_server, "x") is None


@pytest.mark.parametrize("gateway", [True, "true", " true ", 1, -1])
def test_device_is_a_gateway_as_jackson_reads_booleans(shared_server, v, token, sub, gateway):
    new_gateway(shared_server, token, gateway=gateway)
    with device_session(shared_server, v, token) as client:
        send(client, v, CONNECT, {"device": sub})


# What cannot be read.


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_no_json_closes_or_is_explained(shared_server, v, token, topic, qos):
    new_gateway(shared_server, token)
    for payload in (b"{", b"\xff", b"[" * 300):
        with device_session(shared_server, v, token) as client:
            client.send(v.publish(topic, payload, qos=qos, packet_id=3) + PINGREQ)
            if qos and v.explains:
                client.expect(v.puback(3, 0x99) + PINGRESP)
            else:
                expect_end(client, v, 0x99)


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("qos", [0, 1])
def test_json_of_another_form_is_acknowledged_and_closes(shared_server, v, token, topic, qos):
    new_gateway(shared_server, token)
    for payload in (b"", b"[]", b"1", b"{}", b'{"device":""}'):
        with device_session(shared_server, v, token) as client:
            client.send(v.publish(topic, payload, qos=qos, packet_id=3) + PINGREQ)
            if qos:
                client.expect(v.puback(3, 0x83))
            expect_end(client, v, 0x83)


@pytest.mark.parametrize("topic", ["v1/gateway", "v1/gateway/x", "v1/gatewayish", RESPONSE, "v1/gateway/provision"])
def test_other_topics_are_acknowledged_and_dropped(client, v, topic):
    client.send(v.publish(topic, b"no json") + v.publish(topic, b"no json", qos=1, packet_id=9))
    client.expect(v.puback(9, 0x90))
    expect_open(client)


@pytest.mark.parametrize(
    ("topic", "bad"), [(TELEMETRY, [1]), (TELEMETRY, [{"ts": "x", "values": {}}]), (CLAIM, {"secretKey": {}})]
)
def test_one_device_s_part_that_cannot_be_read_keeps_no_other_from_being_stored(
    shared_server, v, token, sub, topic, bad
):
    new_gateway(shared_server, token)
    with device_session(shared_server, v, token) as client:
        body = {f"{sub} bad": bad, sub: [{"a": 1}] if topic == TELEMETRY else {}}
        client.send(v.publish(topic, json.dumps(body).encode(), qos=1, packet_id=3) + PINGREQ)
        if v.explains:
            client.expect(v.puback(3, 0x99) + PINGRESP)
        else:
            expect_end(client, v, 0x99)
    assert stored(shared_server, sub)[0] == ({"a": 1} if topic == TELEMETRY else {})
    assert stored(shared_server, f"{sub} bad") == ({}, {})


def test_parts_of_another_type_are_left_out(shared_server, client, v, sub):
    send(client, v, TELEMETRY, {"x": {"a": 1}, "y": None, sub: [{"a": 1}]})
    send(client, v, ATTRIBUTES, {"x": [1], sub: {"b": 2}}, packet_id=2)
    assert stored(shared_server, sub) == ({"a": 1}, {"b": 2})
    assert find(shared_server, "x") is find(shared_server, "y") is None


def test_empty_list_is_never_acknowledged_and_all_else_is_stored(shared_server, client, v, sub):
    body = json.dumps({f"{sub} empty": [], sub: [{"a": 1}]}).encode()
    client.send(v.publish(TELEMETRY, body, qos=1, packet_id=3))
    expect_open(client)
    assert stored(shared_server, sub)[0] == {"a": 1}
    send(client, v, TELEMETRY, {f"{sub} empty": [{}]}, packet_id=4)


# What a gateway must not have.


@pytest.mark.parametrize(
    ("topic", "reason"),
    [(TELEMETRY, 0x80), (ATTRIBUTES, 0x80), (CLAIM, 0x80), (RPC, 0x80), (REQUEST, 0x83), (CONNECT, None)],
)
def test_device_that_never_came_through_a_gateway_is_left_alone(shared_server, client, v, sub, topic, reason):
    mine = make(shared_server, sub)
    with device_session(shared_server, v, sub) as own:
        client.send(v.publish(topic, about(topic, sub), qos=1, packet_id=3) + PINGREQ)
        client.expect((b"" if reason is None else v.puback(3, reason)) + PINGRESP)
        expect_open(own)
    assert stored(shared_server, sub) == ({}, {})
    refused = [each for each in shared_server.events("sub_device_refused") if each["device"] == sub]
    assert len(refused) == 1
    rows = shared_server.query(lambda registry: registry.read(find_audit, sub))
    assert ("gateway.connect", "refused") in [(row.what, row.result) for row in rows]
    assert find(shared_server, sub).id == mine


def find_audit(session, entity):
    return audit.find(session, limit=100, entity=entity)


@pytest.mark.parametrize("name", ["", " ", "\0", "x" * 256, "<b>", "{{x}}"])
def test_names_that_no_device_may_have_are_refused(shared_server, client, v, name):
    client.send(v.publish(TELEMETRY, json.dumps({name: [{"a": 1}]}).encode(), qos=1, packet_id=3) + PINGREQ)
    client.expect(v.puback(3, 0x80) + PINGRESP)


def test_gateway_is_no_device_of_its_own(client, v, token):
    client.send(v.publish(CONNECT, about(CONNECT, token), qos=1) + PINGREQ)
    client.expect(PINGRESP)


@pytest.mark.parametrize("bound", ["made", "connected", "all"])
def test_devices_beyond_a_bound_are_refused_and_those_within_are_served(server, v, token, monkeypatch, bound):
    new_gateway(server, token)
    with device_session(server, v, token) as client:
        send(client, v, CONNECT, {"device": "a"})
        monkeypatch.setattr(sub_devices, "MADE", 1 if bound == "made" else 9)
        monkeypatch.setattr(gateway_session, "CONNECTED", 1 if bound == "connected" else 9)
        monkeypatch.setattr(listener, "SUB_DEVICES", 1 if bound == "all" else 9)
        client.send(v.publish(CONNECT, about(CONNECT, "b"), qos=1) + PINGREQ)
        client.expect(PINGRESP)
        send(client, v, TELEMETRY, {"a": [{"x": 1}], "b": [{"x": 1}]}, packet_id=2, reason=0x97)
        assert stored(server, "a")[0] == {"x": 1}
        if bound != "made":
            send(client, v, DISCONNECT, {"device": "a"}, packet_id=3)
            send(client, v, TELEMETRY, {"b": [{"x": 2}]}, packet_id=4)
            assert stored(server, "b")[0] == {"x": 2}


def test_device_without_room_is_explained_and_others_are_stored(server, v, token, monkeypatch):
    new_gateway(server, token)
    monkeypatch.setattr(device_room, "KEYS", 1)
    with device_session(server, v, token) as client:
        body = json.dumps({"full": [{"a": 1, "b": 2}], "good": [{"a": 1}]}).encode()
        client.send(v.publish(TELEMETRY, body, qos=1, packet_id=3) + PINGREQ)
        if v.explains:
            client.expect(v.puback(3, 0x97) + PINGRESP)
        else:
            expect_end(client, v, 0x97)
    assert (stored(server, "full")[0], stored(server, "good")[0]) == ({}, {"a": 1})


# What is there.


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic != DISCONNECT])
def test_any_message_about_a_device_connects_it(shared_server, client, v, sub, topic):
    client.send(v.publish(topic, about(topic, sub), qos=1, packet_id=3))
    client.expect(v.puback(3))
    if topic == REQUEST:
        client.expect(received(v, RESPONSE, {"id": 1, "device": sub}, packet_id=1))
    assert is_connected(shared_server, sub)
    client.send(v.publish(DISCONNECT, about(DISCONNECT, sub), qos=1, packet_id=4))
    client.expect(v.puback(4))
    assert not is_connected(shared_server, sub)


def test_disconnect_of_what_is_not_connected_is_acknowledged(shared_server, client, v, sub):
    send(client, v, DISCONNECT, {"device": sub})
    assert find(shared_server, sub) is None


def test_connect_makes_a_device_with_its_profile_once(shared_server, client, v, token, sub):
    kind = operators.name("kind")
    send(client, v, CONNECT, {"device": sub, "type": kind})
    send(client, v, CONNECT, {"device": sub, "type": "another"}, packet_id=2)
    found = find(shared_server, sub)
    assert found.additional_info == {"lastConnectedGateway": str(device_id(shared_server, token))}
    assert shared_server.query(lambda registry: registry.device(sub)).profile == kind


def test_messages_of_qos_0_are_stored_and_not_answered(shared_server, client, v, sub):
    client.send(v.publish(TELEMETRY, about(TELEMETRY, sub)) + v.publish(ATTRIBUTES, about(ATTRIBUTES, sub)))
    expect_open(client)
    assert stored(shared_server, sub) == ({"a": 1}, {"a": 1})


@pytest.mark.slow
def test_telemetry_of_a_thousand_devices_in_one_message(server):
    v = VERSIONS["5"]
    new_gateway(server, "gateway")
    with device_session(server, v, "gateway") as client:
        client.socket.settimeout(60)
        body = {f"s{number}": [{"ts": 5, "values": {"n": number}}, {"m": True}] for number in range(1000)}
        send(client, v, TELEMETRY, body)
        for number in (0, 500, 999):
            assert stored(server, f"s{number}")[0] == {"n": number, "m": True}
        send(client, v, TELEMETRY, {name: [{"n": -1}] for name in body}, packet_id=2)
        assert stored(server, "s999")[0]["n"] == -1


def test_attributes_are_requested_and_answered(shared_server, client, v, sub):
    send(client, v, ATTRIBUTES, {sub: {"c": 1, "both": "c"}})
    target = device_id(shared_server, sub)
    send(client, v, DISCONNECT, {"device": sub}, packet_id=2)
    share(shared_server, target, {"s": [2.0], "both": "s"})
    requests = [
        ({"client": True, "key": "c"}, {"value": 1}),
        ({"client": False, "key": "c"}, {}),
        ({"client": False, "keys": ["s"]}, {"value": [2.0]}),
        ({"client": True, "keys": ["c", "unknown"]}, {"values": {"c": 1}}),
        ({"client": False, "keys": ["both", "s"]}, {"values": {"both": "s", "s": [2.0]}}),
        ({"client": True, "keys": []}, {"values": {"both": "s", "c": 1, "s": [2.0]}}),
    ]
    for number, (request, answer) in enumerate(requests, 1):
        send(client, v, REQUEST, {"id": -number, "device": sub, **request}, packet_id=number)
        client.expect(received(v, RESPONSE, {"id": -number, "device": sub, **answer}, packet_id=number))


def test_attribute_request_with_an_empty_key_is_acknowledged_and_never_answered(client, v, sub):
    send(client, v, REQUEST, {"id": 1, "device": sub, "client": True, "keys": ["", "a"]})
    expect_open(client)


def test_claims_of_several_devices_are_stored(shared_server, client, v, sub):
    names = [f"{sub} {number}" for number in range(3)]
    send(client, v, CLAIM, {name: {"secretKey": "s", "durationMs": 60000} for name in names})
    results = {each["device"]: each["result"] for each in shared_server.events("claim")}
    assert [results[name] for name in names] == ["offered"] * 3


# What the server has for a device.


def test_changes_of_shared_attributes_are_sent_whether_subscribed_or_not(shared_server, client, v, sub):
    send(client, v, CONNECT, {"device": sub})
    target = device_id(shared_server, sub)
    share(shared_server, target, {"limit": 3})
    client.expect(received(v, ATTRIBUTES, {"device": sub, "data": {"limit": 3}}, packet_id=1))
    client.send(v.subscribe(7, (ATTRIBUTES, 0)))
    client.expect(v.suback(7, 0))
    share(shared_server, target, {"limit": 4})
    client.expect(
        v.publish(ATTRIBUTES, json.dumps({"device": sub, "data": {"limit": 4}}, separators=(",", ":")).encode())
    )
    send(client, v, DISCONNECT, {"device": sub}, packet_id=2)
    share(shared_server, target, {"limit": 5})
    expect_open(client)


def test_call_is_sent_to_the_gateway_and_its_answer_accepted(shared_server, client, v, sub):
    send(client, v, CONNECT, {"device": sub})
    answer = begin_call(shared_server, device_id(shared_server, sub), params={"delay": 1})
    data = {"id": 0, "method": "reboot", "params": {"delay": 1}}
    client.expect(received(v, RPC, {"device": sub, "data": data}, packet_id=1))
    send(client, v, RPC, {"device": sub, "id": 1, "data": "another call's"}, packet_id=2)
    send(client, v, RPC, {"device": f"{sub} other", "id": 0, "data": "another device's"}, packet_id=3)
    send(client, v, RPC, {"device": sub, "id": 0, "data": {"ok": True}}, packet_id=4)
    assert answer.result(10) == {"ok": True}


def test_call_of_a_device_that_is_offline_waits_for_its_gateway(shared_server, client, v, sub):
    send(client, v, CONNECT, {"device": sub})
    send(client, v, DISCONNECT, {"device": sub}, packet_id=2)
    target = device_id(shared_server, sub)
    with pytest.raises(CallUnanswered) as unanswered:
        begin_call(shared_server, target, timeout_s=0.05).result(10)
    assert not unanswered.value.sent
    waiting = begin_call(shared_server, target)
    client.send(v.publish(CONNECT, about(CONNECT, sub), qos=1, packet_id=3))
    data = {"id": 1, "method": "reboot", "params": None}
    client.expect(received(v, RPC, {"device": sub, "data": data}, packet_id=1) + v.puback(3))
    send(client, v, RPC, {"device": sub, "id": 1, "data": None}, packet_id=4)
    assert waiting.result(10) is None


# Sessions of one device.


def test_of_two_gateways_the_one_that_spoke_last_has_the_device(shared_server, v, token, sub):
    new_gateway(shared_server, token)
    new_gateway(shared_server, f"{token} 2")
    with device_session(shared_server, v, token) as first, device_session(shared_server, v, f"{token} 2") as second:
        send(first, v, CONNECT, {"device": sub})
        send(second, v, TELEMETRY, {sub: [{"a": 2}]})
        share(shared_server, device_id(shared_server, sub), {"limit": 3})
        second.expect(received(v, ATTRIBUTES, {"device": sub, "data": {"limit": 3}}, packet_id=1))
        expect_open(first)  # and it was told nothing
        send(first, v, DISCONNECT, {"device": sub}, packet_id=2)
        assert is_connected(shared_server, sub)
        send(first, v, TELEMETRY, {sub: [{"a": 1}]}, packet_id=3)
        share(shared_server, device_id(shared_server, sub), {"limit": 4})
        first.expect(received(v, ATTRIBUTES, {"device": sub, "data": {"limit": 4}}, packet_id=1))
        expect_open(second)
    assert find(shared_server, sub).additional_info == {"lastConnectedGateway": str(device_id(shared_server, token))}


def test_device_that_logs_in_itself_takes_its_session_and_its_gateway_takes_it_back(shared_server, client, v, sub):
    send(client, v, CONNECT, {"device": sub})
    own_token = shared_server.query(lambda registry: registry.device(sub)).credentials.id
    with device_session(shared_server, v, own_token) as own:
        own.send(v.subscribe(1, ("v1/devices/me/attributes", 1)))
        own.expect(v.suback(1, 1))
        share(shared_server, device_id(shared_server, sub), {"limit": 3})
        own.expect(v.publish("v1/devices/me/attributes", b'{"limit":3}', qos=1))
        expect_open(client)
        send(client, v, TELEMETRY, {sub: [{"a": 1}]}, packet_id=2)
        expect_end(own, v, 0x8E)


def test_second_connection_of_a_gateway_begins_without_devices(shared_server, v, token, sub):
    new_gateway(shared_server, token)
    with device_session(shared_server, v, token) as first:
        send(first, v, CONNECT, {"device": sub})
        with device_session(shared_server, v, token) as second:
            expect_end(first, v, 0x8E)
            shared_server.wait_for("offline", device=sub)
            assert not is_connected(shared_server, sub)
            send(second, v, CONNECT, {"device": sub})
            assert is_connected(shared_server, sub)


def test_device_that_is_deleted_is_made_again_by_the_next_message(shared_server, client, v, sub):
    send(client, v, TELEMETRY, {sub: [{"a": 1}]})
    gone = device_id(shared_server, sub)
    shared_server.query(lambda registry: registry.delete_device(sub))
    shared_server.call(notify(gone, SessionEnd.DELETED))
    expect_open(client)
    send(client, v, TELEMETRY, {sub: [{"b": 2}]}, packet_id=2)
    assert device_id(shared_server, sub) != gone
    assert stored(shared_server, sub)[0] == {"b": 2}


def notify(target, why):
    async def end(api):
        api.presence.notify_session_end(target, why)

    return end


def test_device_that_is_deleted_unnoticed_fails_once(shared_server, client, v, sub):
    send(client, v, CONNECT, {"device": sub})
    shared_server.query(lambda registry: registry.delete_device(sub))
    send(client, v, TELEMETRY, {sub: [{"a": 1}]}, packet_id=2, reason=0x80)


def test_other_credentials_end_the_device_s_session_but_not_the_gateway_s(shared_server, client, v, sub):
    send(client, v, CONNECT, {"device": sub})
    shared_server.call(notify(device_id(shared_server, sub), SessionEnd.CREDENTIALS_CHANGED))
    assert not is_connected(shared_server, sub)
    send(client, v, TELEMETRY, {sub: [{"a": 1}]}, packet_id=2)


def test_end_of_a_gateway_is_the_end_of_its_devices(shared_server, v, token, sub):
    new_gateway(shared_server, token)
    with device_session(shared_server, v, token) as client:
        send(client, v, CONNECT, {"device": sub})
        shared_server.call(notify(device_id(shared_server, token), SessionEnd.DELETED))
        expect_end(client, v, 0x98)
    shared_server.wait_for("offline", device=sub)
    assert not is_connected(shared_server, sub)


def test_gateway_goes_on_after_a_restart_of_the_server(server, v, token, sub):
    new_gateway(server, token)
    with device_session(server, v, token) as client:
        send(client, v, CONNECT, {"device": sub})
        before = device_id(server, sub)
    server.stop()
    server.start()
    with device_session(server, v, token) as client:
        send(client, v, TELEMETRY, {sub: [{"a": 1}]})
        assert device_id(server, sub) == before
        assert is_connected(server, sub)
    assert stored(server, sub)[0] == {"a": 1}


# Activity.


@contextmanager
def noted(server):
    """Yield the devices that were seen since."""
    seen, activity = [], server.api.activity
    real = activity.seen
    activity.seen = lambda device: (seen.append(device), real(device))
    try:
        yield seen
    finally:
        activity.seen = real


@pytest.mark.parametrize("overwrite", [True, False, "true", None])
def test_what_a_gateway_does_counts_for_its_devices_if_it_is_set_so(
    shared_server, v, token, sub, monkeypatch, overwrite
):
    monkeypatch.setattr(gateway_session, "_REPORT_S", 0.0)
    new_gateway(shared_server, token, overwriteActivityTime=overwrite)
    with device_session(shared_server, v, token) as client:
        send(client, v, CONNECT, {"device": sub})
        with noted(shared_server) as seen:
            client.send(PINGREQ)
            client.expect(PINGRESP)
        assert (device_id(shared_server, sub) in seen) is (overwrite is True)


def test_times_of_a_device_are_stored(shared_server, client, v, sub):
    send(client, v, CONNECT, {"device": sub})
    send(client, v, DISCONNECT, {"device": sub}, packet_id=2)
    shared_server.call(lambda api: api.activity.save())
    found = shared_server.query(lambda registry: registry.device(sub)).attributes[SERVER_SCOPE]
    assert found["active"] is True
    assert {"lastConnectTime", "lastDisconnectTime", "lastActivityTime"} < found.keys()


def test_limits_of_a_gateway_s_session_are_sent(client, v):
    client.send(v.publish("v1/devices/me/rpc/request/1", b'{"method":"getSessionLimits","params":{}}', qos=1))
    limits = '{"messages":null,"telemetryMessages":null,"telemetryDataPoints":null}'
    expected = (
        f'{{"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{limits},"gatewayRateLimits":{limits}}}'
    )
    client.expect(v.puback(1) + v.publish("v1/devices/me/rpc/response/1", expected.encode(), qos=1))
