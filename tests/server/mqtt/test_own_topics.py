"""Topics of a profile's own, and what becomes of messages that cannot be read."""

import pytest

from bench.registry import devices, profiles
from bench.server.mqtt.own_topics import OwnTopics
from bench.server.mqtt.topics import TopicKind
from tests.support.mqtt_packets import (
    ATTRIBUTES,
    PINGREQ,
    PINGRESP,
    TELEMETRY,
    TOKEN,
    device_session,
    expect_end,
    expect_open,
    new_device,
    stored,
)

OWN = {
    "type": "MQTT",
    "deviceTelemetryTopic": "my/+/telemetry",
    "deviceAttributesTopic": "my/attributes",
    "deviceAttributesSubscribeTopic": "my/updates",
    "sendAckOnValidationException": True,
}


def with_profile(server, **configuration):
    """A device whose profile has this transport configuration."""
    new_device(server, transport_type="MQTT")

    def change(session):
        profile = profiles.get(session, devices.by_name(session, "device").profile_id)
        profile.details = {"profileData": {"transportConfiguration": {**OWN, **configuration}}}

    server.query(lambda registry: registry.write(change))


def test_own_topics_are_stored_and_the_long_ones_dropped_and_the_short_ones_live_on(server, v):
    with_profile(server)
    with device_session(server, v) as client:
        for number, (topic, taken) in enumerate(
            [
                ("my/press/telemetry", True),
                ("my/attributes", True),
                (TELEMETRY, False),
                (ATTRIBUTES, False),
                ("my/telemetry", False),
                ("my/a/b/telemetry", False),
                ("v2/t", True),
                ("v2/a/j", True),
            ]
        ):
            client.send(v.publish(topic, b'{"k%d":%d}' % (number, number), qos=1))
            client.expect(v.puback(1, 0 if taken else 0x90))
    assert stored(server) == ({"k0": 0, "k6": 6}, {"k1": 1, "k7": 7})


def test_updates_are_subscribed_to_on_the_own_topic_and_come_on_the_long_one(server, v):
    with_profile(server)
    device_id = server.query(lambda registry: registry.token_login(TOKEN)).id
    with device_session(server, v) as client:
        client.send(v.subscribe(1, ("my/updates", 1), ("my/attributes", 1)))
        client.expect(v.suback(1, 1, 0x8F))
        server.call(lambda api: api.presence.notify_attributes(device_id, {"a": 1}, []))
        client.expect(v.publish(ATTRIBUTES, b'{"a":1}', qos=1))
        client.send(v.unsubscribe(2, "my/updates"))
        client.expect(v.unsuback(2, 0))
        server.call(lambda api: api.presence.notify_attributes(device_id, {"a": 2}, []))
        expect_open(client)


@pytest.mark.parametrize("topic", ["my/attributes", "v2/t"])
def test_message_that_cannot_be_read_is_acknowledged_if_the_profile_has_it(server, v, topic):
    with_profile(server)
    with device_session(server, v) as client:
        client.send(v.publish(topic, b"{", qos=1) + PINGREQ)
        client.expect(v.puback(1, 0x99) + PINGRESP)
        client.send(v.publish(topic, b"{"))
        expect_end(client, v, 0x99)
    assert stored(server) == ({}, {})


def test_message_that_cannot_be_read_closes_if_the_profile_does_not_have_it(server, v):
    with_profile(server, sendAckOnValidationException=False)
    with device_session(server, v) as client:
        client.send(v.publish("v2/t", b"{"))
        expect_end(client, v, 0x99)


@pytest.mark.parametrize(
    "configuration", [{"type": "DEFAULT"}, {"deviceTelemetryTopic": None}, {"deviceTelemetryTopic": 7}]
)
def test_profile_without_topics_has_the_usual_ones(server, v, configuration):
    with_profile(server, **configuration)
    with device_session(server, v) as client:
        client.send(v.publish(TELEMETRY, b'{"a":1}', qos=1))
        client.expect(v.puback(1))
    assert stored(server)[0] == {"a": 1}


@pytest.mark.parametrize(
    ("wanted", "topic", "fits"),
    [
        ("#", "anything/at/all", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "b", False),
        ("+/t", "a/t", True),
        ("+/t", "/t", False),
        ("a.c", "abc", False),
        ("a/+", "a/b/c", False),
    ],
)
def test_filter_of_a_topic(wanted, topic, fits):
    kind = OwnTopics(telemetry=wanted).parse(topic).kind
    assert kind is (TopicKind.TELEMETRY if fits else TopicKind.OTHER)


def test_gateway_and_attributes_come_first():
    every = OwnTopics(telemetry="#", attributes="a/#")
    assert every.parse("v1/gateway/telemetry").kind is TopicKind.GATEWAY
    assert every.parse("a/b").kind is TopicKind.ATTRIBUTES
    assert every.parse("v1/devices/me/rpc/request/1").kind is TopicKind.TELEMETRY
