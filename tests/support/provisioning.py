"""Provisioning exchanges on connections of their own, and checks of their answers."""

from bench.registry.views import ProfileView
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import PROVISION_RESPONSE, connack, connect, puback, publish, request, request_body
from tests.support.raw_client import RawClient
from tests.support.servers import RunningServer


def over_mqtt(server: RunningServer, profile: ProfileView, answer: bytes | None, **fields: object) -> None:
    """Provision over MQTT, and expect this answer; None: the request is acknowledged, and the connection closed."""
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision") + request(profile, **fields))
        client.expect(connack(0) + puback(1))
        if answer is None:
            client.expect_closed()
        else:
            client.expect(publish(PROVISION_RESPONSE, answer, qos=1))


def over_http(server: RunningServer, profile: ProfileView, answer: bytes | None, **fields: object) -> None:
    """Provision over HTTP, and expect this answer; None: an error of the server, or of too many requests."""
    status, body, _ = call(server, PROVISION, request_body(profile, **fields))
    assert (status, body) == (200, answer) if answer is not None else status in (429, 500)
