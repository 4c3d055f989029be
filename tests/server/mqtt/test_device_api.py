"""The device API over MQTT, in every form of the topics and both versions."""

import json
from typing import NamedTuple

import pytest

from bench.server.mqtt import call_timeouts
from bench.server.presence import AnswerUnreadable, CallUnanswered
from tests.support.device_calls import begin_call, share
from tests.support.mqtt_packets import (
    ATTRIBUTES,
    PINGREQ,
    PINGRESP,
    TOKEN,
    device_session,
    expect_end,
    expect_open,
    expect_silence,
    new_device,
)


class Form(NamedTuple):
    """The topics of one form, as the device writes and subscribes to them."""

    attributes: str
    attribute_request: str
    attribute_response: str
    rpc_request: str
    rpc_response: str


FORMS = {
    "long": Form(
        "v1/devices/me/attributes",
        "v1/devices/me/attributes/request/",
        "v1/devices/me/attributes/response/",
        "v1/devices/me/rpc/request/",
        "v1/devices/me/rpc/response/",
    ),
    "short": Form("v2/a", "v2/a/req/", "v2/a/res/", "v2/r/req/", "v2/r/res/"),
    "short JSON": Form("v2/a/j", "v2/a/req/j/", "v2/a/res/j/", "v2/r/req/j/", "v2/r/res/j/"),
}
LONG, SHORT, SHORT_JSON = FORMS.values()
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)

# Topics end with a number of 32 bits, in digits that may have a sign.
NO_IDS = ["", "a", "1.5", " 1", "1 ", "1/", "-", "--1", "0x1", "1e3", "1_0", "2147483648", "-2147483649"]
NO_IDS += ["9" * 5000, "\u00b2"]


@pytest.fixture
def client(server, v):
    """A client in the session of `device`."""
    new_device(server)
    with device_session(server, v) as client:
        yield client


@pytest.fixture
def device_id(server, client):
    """The device's id."""
    return server.query(lambda registry: registry.token_login(TOKEN)).id


# Requests for attributes.


@every_form
def test_attribute_request_without_an_id_is_a_bad_message(server, v, form):
    expect_bad_messages(server, v, [(form.attribute_request + request_id, b"{}") for request_id in NO_IDS])


def expect_bad_messages(server, v, messages):
    """Each closes its session, or is explained; that depends on version and QoS."""
    new_device(server)
    for topic, payload in messages:
        for qos in (0, 1, 2):
            with device_session(server, v) as client:
                client.send(v.publish(topic, payload, qos=qos, packet_id=3) + PINGREQ)
                if qos and v.explains:
                    client.expect(v.puback(3, 0x99) + PINGRESP)
                else:
                    expect_end(client, v, 0x99)


@every_form
def test_attribute_request_that_cannot_be_read_is_a_bad_message(server, v, form):
    payloads = [b"", b"{", b"[]", b"1", b'{"clientKeys":null}', b'{"sharedKeys":{}}']
    expect_bad_messages(server, v, [(form.attribute_request + "1", payload) for payload in payloads])


REQUESTS = [
    ({}, {"client": {"c": 1, "both": "c"}, "shared": {"s": [2], "both": "s"}}),
    ({"clientKeys": "c"}, {"client": {"c": 1}}),
    ({"sharedKeys": "s"}, {"shared": {"s": [2]}}),
    ({"clientKeys": "both,c,,", "sharedKeys": "both"}, {"client": {"both": "c", "c": 1}, "shared": {"both": "s"}}),
    ({"clientKeys": "both, c", "sharedKeys": " both ,s"}, {"client": {"both": "c"}, "shared": {"s": [2]}}),
    ({"clientKeys": "s", "sharedKeys": "c,unknown"}, {}),
    ({"clientKeys": ",", "sharedKeys": ",,"}, {"client": {"c": 1, "both": "c"}, "shared": {"s": [2], "both": "s"}}),
    ({"keys": "c"}, {"client": {"c": 1, "both": "c"}, "shared": {"s": [2], "both": "s"}}),
]


@every_form
def test_attribute_request_is_acknowledged_and_answered(server, client, v, form, device_id):
    client.send(v.publish(ATTRIBUTES, b'{"c":1,"both":"c"}', qos=1))
    client.expect(v.puback(1))
    share(server, device_id, {"s": [2], "both": "s"})
    for number, (body, expected) in enumerate(REQUESTS, 1):
        for qos in (0, 1, 2):
            topic = f"{form.attribute_request}{number}"
            client.send(v.publish(topic, json.dumps(body).encode(), qos=qos, packet_id=77))
            if qos:
                client.expect(v.puback(77))
            topic, answer = read_publish(client, v, qos=1)
            assert topic == f"{form.attribute_response}{number}"
            assert json.loads(answer) == expected


@every_form
@pytest.mark.parametrize("keys", ["", "c,,both", ",c"])
@pytest.mark.parametrize("name", ["clientKeys", "sharedKeys"])
def test_attribute_request_with_an_empty_key_is_acknowledged_and_never_answered(client, v, form, name, keys):
    client.send(v.publish(ATTRIBUTES, b'{"c":1}', qos=1))
    client.expect(v.puback(1))
    client.send(v.publish(form.attribute_request + "1", json.dumps({name: keys}).encode(), qos=1, packet_id=2))
    client.send(v.publish(form.attribute_request + "2", b'{"clientKeys":"c"}', qos=1, packet_id=3))
    client.expect(v.puback(2) + v.puback(3) + v.publish(form.attribute_response + "2", b'{"client":{"c":1}}', qos=1))


def read_publish(client, v, *, qos):
    """The PUBLISH that comes next: topic and payload."""
    first, length = client.read(1), client.read(1)[0]
    assert first == bytes([0x30 + 2 * qos])
    while length >= 128:
        length += (client.read(1)[0] - 1) * 128
    body = client.read(length)
    size = int.from_bytes(body[:2], "big")
    rest = body[2 + size + (2 if qos else 0) :]
    return body[2 : 2 + size].decode(), rest[1:] if v.explains else rest


def test_attribute_request_without_attributes_is_answered_with_nothing(client, v):
    client.send(v.publish(LONG.attribute_request + "5", b"{}", qos=1))
    client.expect(v.puback(1) + v.publish(LONG.attribute_response + "5", b"{}", qos=1))


@pytest.mark.parametrize(("sent", "answered"), [("0", "0"), ("007", "7"), ("2147483647", "2147483647")])
def test_id_of_an_answer_is_the_number_of_the_request(client, v, sent, answered):
    client.send(v.publish(SHORT.attribute_request + sent, b"{}"))
    client.expect(v.publish(SHORT.attribute_response + answered, b"{}", qos=1))


def test_attribute_request_with_a_negative_id_is_acknowledged_and_not_answered(client, v):
    client.send(v.publish(LONG.attribute_request + "-1", b"{}", qos=1) + PINGREQ)
    client.expect(v.puback(1) + PINGRESP)


@pytest.mark.parametrize(("requested", "granted"), [(0, 0), (1, 1), (2, 1)])
@every_form
def test_answer_has_the_qos_of_the_subscription(client, v, form, requested, granted):
    client.send(v.subscribe(1, (form.attribute_response + "+", requested)))
    client.expect(v.suback(1, granted))
    client.send(v.publish(form.attribute_request + "1", b"{}") + v.publish(form.attribute_request + "2", b"{}"))
    client.expect(v.publish(form.attribute_response + "1", b"{}", qos=granted, packet_id=1))
    client.expect(v.publish(form.attribute_response + "2", b"{}", qos=granted, packet_id=2))
    client.send(v.unsubscribe(2, form.attribute_response + "+"))
    client.expect(v.unsuback(2, 0))
    client.send(v.publish(form.attribute_request + "3", b"{}"))
    client.expect(v.publish(form.attribute_response + "3", b"{}", qos=1, packet_id=3))


# Shared attributes that change.


def test_change_is_not_sent_without_a_subscription(server, client, v, device_id):
    filters = [topic for form in FORMS.values() for topic in (form.attribute_response + "+", form.rpc_request + "+")]
    client.send(v.subscribe(1, *((topic, 1) for topic in filters)))
    client.expect(v.suback(1, *[1] * len(filters)))
    share(server, device_id, {"a": 1})
    expect_open(client)


@every_form
@pytest.mark.parametrize("qos", [0, 1])
def test_changes_and_deletions_are_sent_from_the_subscription_on(server, client, v, device_id, form, qos):
    share(server, device_id, {"before": 1})
    client.send(v.subscribe(1, (form.attributes, qos)))
    client.expect(v.suback(1, qos))
    share(server, device_id, {"a": 1, "b": {"c": [None]}}, ["before"])
    client.expect(v.publish(form.attributes, b'{"a":1,"b":{"c":[null]}}', qos=qos, packet_id=1))
    client.expect(v.publish(form.attributes, b'{"deleted":["before"]}', qos=qos, packet_id=2))
    share(server, device_id, {"a": 2})
    client.expect(v.publish(form.attributes, b'{"a":2}', qos=qos, packet_id=3))
    client.send(v.puback(3))
    expect_open(client)


def test_change_is_sent_once_in_the_form_of_the_last_subscription(server, client, v, device_id):
    client.send(v.subscribe(1, (LONG.attributes, 0)) + v.subscribe(2, (SHORT.attributes, 0), ("#", 0), ("v2/t", 0)))
    client.expect(v.suback(1, 0) + v.suback(2, 0, 0x8F, 0x8F))
    share(server, device_id, {"a": 1})
    client.expect(v.publish("v2/a", b'{"a":1}'))
    client.send(v.subscribe(3, (LONG.attributes, 1)))
    client.expect(v.suback(3, 1))
    share(server, device_id, {"a": 2})
    client.expect(v.publish(LONG.attributes, b'{"a":2}', qos=1, packet_id=2))
    expect_open(client)


def test_to_leave_one_form_is_to_leave_them_all(server, client, v, device_id):
    for form in FORMS.values():
        client.send(v.subscribe(1, (LONG.attributes, 0), (SHORT.attributes, 0), (SHORT_JSON.attributes, 0)))
        client.send(v.unsubscribe(2, form.attributes))
        client.expect(v.suback(1, 0, 0, 0) + v.unsuback(2, 0))
        share(server, device_id, {"a": 1})
        expect_open(client)
    client.send(v.subscribe(1, (LONG.attributes, 0)))
    client.expect(v.suback(1, 0))
    share(server, device_id, {"a": 1})
    client.expect(v.publish(LONG.attributes, b'{"a":1}'))


def test_change_is_sent_to_its_device_only(server, client, v, device_id):
    new_device(server, "other", "other-token")
    with device_session(server, v, "other-token") as other:
        for each in (client, other):
            each.send(v.subscribe(1, (LONG.attributes, 0)))
            each.expect(v.suback(1, 0))
        share(server, device_id, {"a": 1})
        client.expect(v.publish(LONG.attributes, b'{"a":1}'))
        expect_open(other)


def test_change_is_not_sent_to_a_session_that_was_taken_over(server, client, v, device_id):
    client.send(v.subscribe(1, (LONG.attributes, 0)))
    client.expect(v.suback(1, 0))
    with device_session(server, v) as newer:
        expect_end(client, v, 0x8E)
        share(server, device_id, {"a": 1})
        expect_open(newer)


def test_peer_that_never_reads_is_dropped_before_its_messages_fill_the_memory(server, client, v, device_id):
    client.send(v.subscribe(1, (LONG.attributes, 1)))
    client.expect(v.suback(1, 1))
    text = "x" * 100_000

    def notify(api):
        for _ in range(1000):
            api.presence.notify_attributes(device_id, {"a": text}, [])

    server.call(notify)
    server.wait_for("offline", device="device")


# Calls from the server.


@every_form
@pytest.mark.parametrize("qos", [0, 1])
def test_call_is_sent_and_its_answer_accepted(server, client, v, device_id, form, qos):
    client.send(v.subscribe(1, (form.rpc_request + "+", qos)))
    client.expect(v.suback(1, qos))
    for number, (params, written) in enumerate([(None, b"null"), ({"a": [1]}, b'{"a":[1]}'), ("x", b'"x"')]):
        answer = begin_call(server, device_id, "reboot", params)
        body = b'{"method":"reboot","params":%s}' % written
        client.expect(v.publish(f"{form.rpc_request}{number}", body, qos=qos, packet_id=number + 1))
        client.send(v.publish(f"{form.rpc_response}{number}", b'{"done":%d}' % number, qos=1, packet_id=9))
        client.expect(v.puback(9))
        assert answer.result(5) == {"done": number}


@every_form
def test_call_without_an_answer_is_sent_again_with_every_subscription_and_login(server, client, v, device_id, form):
    client.send(v.subscribe(1, (form.rpc_request + "+", 1)))
    client.expect(v.suback(1, 1))
    answer = begin_call(server, device_id, timeout_s=30)
    topic, body = f"{form.rpc_request}0", b'{"method":"reboot","params":null}'
    client.expect(v.publish(topic, body, qos=1, packet_id=1))
    client.send(v.puback(1) + v.subscribe(2, (form.rpc_request + "+", 1)))
    client.expect(v.suback(2, 1) + v.publish(topic, body, qos=1, packet_id=2))
    client.send(v.subscribe(3, (form.attributes, 0)))  # another subscription does not bring it
    client.expect(v.suback(3, 0))
    expect_open(client)
    with device_session(server, v) as newer:
        newer.send(v.subscribe(1, (form.rpc_request + "+", 0)))
        newer.expect(v.suback(1, 0) + v.publish(topic, body))
        newer.send(v.publish(f"{form.rpc_response}0", b'"done"') + v.subscribe(2, (form.rpc_request + "+", 0)))
        newer.expect(v.suback(2, 0))
        expect_open(newer)
    assert answer.result(5) == "done"


def test_call_without_an_answer_is_sent_once_for_each_topic_of_a_subscription(server, client, v, device_id):
    call = begin_call(server, device_id)
    client.send(v.subscribe(1, (LONG.rpc_request + "+", 0), (SHORT.rpc_request + "+", 0)))
    sent = v.publish("v2/r/req/0", b'{"method":"reboot","params":null}')
    client.expect(v.suback(1, 0, 0) + sent * 2)
    client.send(v.publish("v2/r/res/0", b"1"))
    assert call.result(5) == 1


def test_calls_of_each_device_count_from_0(server, client, v, device_id):
    new_device(server, "other", "other-token")
    other_id = server.query(lambda registry: registry.token_login("other-token")).id
    with device_session(server, v, "other-token") as other:
        for each in (client, other):
            each.send(v.subscribe(1, (LONG.rpc_request + "+", 0)))
            each.expect(v.suback(1, 0))
        for number in range(2):
            for each, id_ in ((client, device_id), (other, other_id)):
                begin_call(server, id_, oneway=True).result(5)
                each.expect(v.publish(f"{LONG.rpc_request}{number}", b'{"method":"reboot","params":null}'))


def test_doubles_are_written_to_devices_as_java_does(server, client, v, device_id):
    client.send(v.subscribe(1, (LONG.rpc_request + "+", 0), (LONG.attributes, 0)))
    client.expect(v.suback(1, 0, 0))
    begin_call(server, device_id, "m", {"a": [1e-7, 12345678.9]}, oneway=True).result(5)
    client.expect(v.publish(f"{LONG.rpc_request}0", b'{"method":"m","params":{"a":[1.0E-7,1.23456789E7]}}'))
    share(server, device_id, {"a": 1e-7})
    client.expect(v.publish(LONG.attributes, b'{"a":1.0E-7}'))


def test_call_that_is_one_way_is_answered_when_it_is_sent(server, client, v, device_id):
    client.send(v.subscribe(1, (LONG.rpc_request + "+", 1)))
    client.expect(v.suback(1, 1))
    assert begin_call(server, device_id, oneway=True).result(5) is None
    client.expect(v.publish(LONG.rpc_request + "0", b'{"method":"reboot","params":null}', qos=1))
    client.send(v.puback(1))
    expect_open(client)


def test_calls_that_wait_are_sent_right_after_the_subscription(server, client, v, device_id):
    calls = [begin_call(server, device_id, f"m{n}") for n in range(3)]
    expect_silence(client)
    client.send(v.subscribe(1, ("#", 0), (SHORT.rpc_request + "+", 0)))
    client.expect(v.suback(1, 0x8F, 0))
    for n in range(3):
        client.expect(v.publish(f"v2/r/req/{n}", b'{"method":"m%d","params":null}' % n))
        client.send(v.publish(f"v2/r/res/{n}", b"%d" % n))
    assert [call.result(5) for call in calls] == [0, 1, 2]


def test_call_is_sent_once_in_the_form_of_the_last_subscription(server, client, v, device_id):
    client.send(v.subscribe(1, (LONG.rpc_request + "+", 0), (SHORT_JSON.rpc_request + "+", 0)))
    client.expect(v.suback(1, 0, 0))
    begin_call(server, device_id)
    client.expect(v.publish("v2/r/req/j/0", b'{"method":"reboot","params":null}'))
    expect_open(client)


def test_who_left_one_form_is_called_in_none(server, client, v, device_id):
    for form in FORMS.values():
        client.send(v.subscribe(1, *((each.rpc_request + "+", 0) for each in FORMS.values())))
        client.send(v.unsubscribe(2, form.rpc_request + "+"))
        client.expect(v.suback(1, 0, 0, 0) + v.unsuback(2, 0))
        with pytest.raises(CallUnanswered):
            begin_call(server, device_id, timeout_s=0.1).result(5)
        expect_open(client)


@every_form
def test_answer_without_an_id_is_a_bad_message(server, v, form):
    expect_bad_messages(server, v, [(form.rpc_response + call_id, b"{}") for call_id in NO_IDS])


@every_form
@pytest.mark.parametrize("call_id", ["0", "-1", "2147483647"])
def test_answer_that_nobody_waits_for_is_acknowledged(client, v, form, call_id):
    client.send(v.publish(form.rpc_response + call_id, b"{}", qos=1) + PINGREQ)
    client.expect(v.puback(1) + PINGRESP)


@pytest.mark.parametrize("answer", [b"OK", b"{a:1}", b"'ok'", b"NaN", b"007", b"\xff", b"{"])
def test_answer_that_is_not_json_is_acknowledged_and_reported_to_the_caller(server, client, v, device_id, answer):
    client.send(v.subscribe(1, (LONG.rpc_request + "+", 0)))
    client.expect(v.suback(1, 0))
    call = begin_call(server, device_id)
    client.expect(v.publish(LONG.rpc_request + "0", b'{"method":"reboot","params":null}'))
    client.send(v.publish(LONG.rpc_response + "0", answer, qos=1) + PINGREQ)
    client.expect(v.puback(1) + PINGRESP)
    with pytest.raises(AnswerUnreadable):
        call.result(5)


def test_answer_of_another_device_is_not_taken(server, client, v, device_id):
    new_device(server, "other", "other-token")
    client.send(v.subscribe(1, (LONG.rpc_request + "+", 0)))
    client.expect(v.suback(1, 0))
    call = begin_call(server, device_id)
    client.expect(v.publish(LONG.rpc_request + "0", b'{"method":"reboot","params":null}'))
    with device_session(server, v, "other-token") as other:
        other.send(v.publish(LONG.rpc_response + "0", b'"forged"', qos=1))
        other.expect(v.puback(1))
    client.send(v.publish(LONG.rpc_response + "0", b'"mine"'))
    assert call.result(5) == "mine"


# Calls from the device.


@every_form
def test_call_without_an_id_closes(server, v, form):
    new_device(server)
    for call_id in NO_IDS:
        with device_session(server, v) as client:
            client.send(v.publish(form.rpc_request + call_id, b'{"method":"getCurrentTime"}', qos=1) + PINGREQ)
            expect_end(client, v, 0x8B)


@every_form
@pytest.mark.parametrize("qos", [0, 1])
def test_call_without_a_method_closes(client, v, form, qos):
    client.send(v.publish(form.rpc_request + "1", b'{"params":{}}', qos=qos) + PINGREQ)
    expect_end(client, v, 0x8B)


@every_form
def test_call_that_cannot_be_read_is_a_bad_message(server, v, form):
    expect_bad_messages(server, v, [(form.rpc_request + "1", payload) for payload in (b"", b"{", b"[]")])


@every_form
def test_call_that_nobody_answers_gets_an_error_in_the_end(client, v, form, monkeypatch):
    assert call_timeouts.TIMEOUT_S == 60
    monkeypatch.setattr(call_timeouts, "TIMEOUT_S", 0.5)
    for call_id in (1, 1, 2):  # the second one of an id is the first one
        client.send(v.publish(f"{form.rpc_request}{call_id}", b'{"method":"unknown","params":{}}', qos=1) + PINGREQ)
        client.expect(v.puback(1) + PINGRESP)
    for packet_id, call_id in enumerate((1, 2), 1):
        client.expect(v.publish(f"{form.rpc_response}{call_id}", b'{"error":"timeout"}', qos=1, packet_id=packet_id))
    expect_open(client)


def test_calls_that_nobody_answers_are_a_bounded_number(client, v, monkeypatch):
    monkeypatch.setattr(call_timeouts, "TIMEOUT_S", 0.5)
    client.send(b"".join(v.publish(f"v2/r/req/{n}", b'{"method":"unknown"}') for n in range(150)))
    for n in range(100):
        client.expect(v.publish(f"v2/r/res/{n}", b'{"error":"timeout"}', qos=1, packet_id=n + 1))
    expect_open(client)


@every_form
def test_limits_of_a_session_are_sent(client, v, form):
    client.send(v.publish(form.rpc_request + "7", b'{"method":"getSessionLimits","params":{}}', qos=1))
    limits = (
        b'{"maxPayloadSize":65536,"maxInflightMessages":100,'
        b'"rateLimits":{"messages":null,"telemetryMessages":null,"telemetryDataPoints":null}}'
    )
    client.expect(v.puback(1) + v.publish(form.rpc_response + "7", limits, qos=1))


@every_form
@pytest.mark.parametrize("call_id", ["0", "-1", "2147483647"])
def test_call_of_a_method_that_is_known_is_acknowledged_and_answered(client, v, form, call_id):
    client.send(v.subscribe(1, (form.rpc_response + "+", 0)))
    client.expect(v.suback(1, 0))
    client.send(v.publish(form.rpc_request + call_id, b'{"method":"echo","params":[1]}', qos=1))
    client.expect(v.puback(1) + v.publish(form.rpc_response + call_id, b"[1]"))


# Claiming.


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"secretKey":"s","durationMs":1}'])
def test_claim_is_acknowledged_whatever_comes_of_it(server, client, v, payload):
    for packet_id in (1, 2):  # the second one is not taken, but is not told so
        client.send(v.publish("v1/devices/me/claim", payload, qos=1, packet_id=packet_id))
        client.expect(v.puback(packet_id))
    assert len(server.events("claim")) == 2


def test_claim_that_cannot_be_read_is_a_bad_message(server, v):
    expect_bad_messages(server, v, [("v1/devices/me/claim", payload) for payload in (b"{", b"[]", b"1", b"\xff")])
    assert server.events("claim") == []


# Packages, of which no device has one.


@pytest.mark.parametrize("kind", ["fw", "sw"])
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", b"NOT_FOUND"),
        (b"1024", b"NOT_FOUND"),
        (b"65536", b"NOT_FOUND"),
        (b"-1", b"NOT_FOUND"),
        (b"65537", b"PAYLOAD_TOO_LARGE"),
    ],
)
def test_chunk_request_gets_the_error_and_is_closed_without_puback(client, v, kind, qos, payload, error):
    client.send(v.subscribe(1, (f"v2/{kind}/response/+/chunk/+", 0), ("v2/fw/error", 0)))
    client.expect(v.suback(1, 0, 0))
    client.send(v.publish(f"v2/{kind}/request/7/chunk/0", payload, qos=qos) + PINGREQ)
    client.expect(v.publish("v2/fw/error", error))
    expect_end(client, v, 0x83)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("v2/fw/request/1/chunk/0", b"many"),
        ("v2/sw/request/1/chunk/0", b"1.5"),
        ("v2/fw/request/1/chunk/4294967296", b""),
    ],
)
def test_chunk_request_with_a_number_that_is_none_closes(client, v, topic, payload):
    client.send(v.publish(topic, payload, qos=1) + PINGREQ)
    expect_end(client, v, 0x8B)


@pytest.mark.parametrize("topic", ["v2/fw/request/x/chunk/0", "v2/fw/request/1/chunk/", "v2/xw/request/1/chunk/0"])
def test_topic_that_is_no_chunk_request_is_acknowledged_and_dropped(client, v, topic):
    client.send(v.publish(topic, b"1024", qos=1) + PINGREQ)
    client.expect(v.puback(1, 0x90) + PINGRESP)


def test_chunk_request_is_found_anywhere_in_a_topic(client, v):
    client.send(v.publish("my/v2/fw/request/1/chunk/0/please", b""))
    client.expect(v.publish("v2/fw/error", b"NOT_FOUND", qos=1))
    expect_end(client, v, 0x83)
