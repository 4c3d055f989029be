"""Boards with the setting `broker.url`: provisioned by the server, at work at the user's own broker (a real one)."""

import json

import pytest
from cryptography.x509 import DNSName

from bench.contract.broker_topics import Topics
from tests.support import certificates, real_brokers
from tests.support.boards import steps
from tests.support.commands import bench
from tests.support.mqtt_packets import connack, connect, publish, suback, subscribe
from tests.support.raw_client import RawClient
from tests.support.real_brokers import PATIENCE_S, Mosquitto

MAIN = b"""
from firstboot import app
app.main(extra={"blink": lambda params: {"blinked": params["times"]}})
"""
NAME = "press 4.b"
TOPICS = Topics.of("iot", "default", NAME)


@pytest.fixture
def folder(tmp_path):
    return real_brokers.mosquitto_folder(tmp_path)


def at_broker(make_board, server, broker, **options):
    url = f"mqtt://127.0.0.1:{broker.port}/iot/default"
    return make_board(server, identity={"name": NAME}, broker={"url": url}, **options)


class Backend(RawClient):
    """A program of the user's own at the broker."""

    def __init__(self, broker):
        super().__init__(broker.port, PATIENCE_S)
        self.send(connect("backend", keep_alive=600))
        self.expect(connack(0))
        self.send(subscribe(1, ("iot/#", 0)))
        self.expect(suback(1, 0))

    def messages(self):
        """Yield topics and values as they come."""
        while self.read(1):
            size, shift = 0, 0
            while (byte := self.read(1)[0]) & 0x80:
                size, shift = size | (byte & 0x7F) << shift, shift + 7
            body = self.read(size | byte << shift)
            topic_size = int.from_bytes(body[:2], "big")
            yield body[2 : 2 + topic_size].decode(), json.loads(body[2 + topic_size :])


def test_board_works_at_the_broker_also_while_the_server_is_away(folder, server, make_board):
    with Mosquitto(folder, "allow_anonymous true") as broker, Backend(broker) as backend:
        board = at_broker(make_board, server, broker, files={"main.py": MAIN})
        with board.power_on() as power:
            power.expect_event("listening")
            messages = backend.messages()
            facts = next(messages)
            assert (facts[0], facts[1]["vault_writes"]) == (TOPICS.status, 2)
            found = [next(messages) for _ in range(2)]
            assert {topic for topic, _ in found} == {TOPICS.data, TOPICS.status}
            assert (TOPICS.status, {"status": "online"}) in found
            order = b'{"method": "blink", "params": {"times": 3}}'
            backend.send(publish(TOPICS.commands, order))
            assert power.expect_event("command")["method"] == "blink"
            backend.send(publish(TOPICS.commands, b'{"method": "factoryReset", "params": {"confirm": "press 4.b"}}'))
            power.expect_event("error", kind="garbage")
            results = [value for topic, value in messages_until(messages, "command") if topic == TOPICS.status]
            assert results[-1] == {"command": "blink", "answer": {"blinked": 3}}
        assert steps(power).count("provisioning") == 1
        assert server.device_names() == [NAME]
        server.stop()
        with board.power_on() as power:
            power.expect_event("telemetry")
        assert "provisioning" not in steps(power)


def messages_until(messages, key):
    for topic, value in messages:
        yield topic, value
        if key in value and topic == TOPICS.status:
            return


def test_board_that_the_broker_refuses_is_let_in_once_it_is_known(folder, server, make_board):
    files = [folder / name for name in ("passwords", "acl")]
    for each in files:
        each.touch(0o600)
    lines = [f"password_file {files[0]}", f"acl_file {files[1]}"]
    with Mosquitto(folder, "allow_anonymous false", *lines) as broker:
        board = at_broker(make_board, server, broker, provision={"credentials": "MQTT_BASIC", "after_refusals": 1000})
        with board.power_on() as power:
            power.expect_event("refused")
            power.expect_event("refused")
            names = ("--passwords", files[0], "--acl", files[1], "--force", "--data", server.data)
            done = bench("broker", "export", *names)
            assert done.returncode == 0, done.stderr
            broker.reload()
            power.expect_event("telemetry")
    assert steps(power).count("provisioning") == 1


def broker_over_tls(folder):
    """Return a mosquitto with a certificate of an authority of its own, and the authority's certificate."""
    authority = certificates.make("authority", ca=True)
    own = certificates.make("localhost", issuer=authority, alternative=[DNSName("localhost")])
    certificate, key = certificates.write(folder, "broker", own)
    key.chmod(0o644)
    return Mosquitto(folder, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}"), authority


def test_board_works_at_a_broker_over_tls(folder, server, make_board):
    broker, authority = broker_over_tls(folder)
    with broker:
        board = at_broker_over_tls(make_board, server, broker, authority)
        with board.power_on() as power:
            power.expect_event("telemetry")
            broker.wait_for(f"as {NAME}")
    assert steps(power).count("provisioning") == 1


def test_board_shows_a_broker_of_another_authority_nothing(folder, server, make_board):
    broker, _ = broker_over_tls(folder)
    with broker:
        board = at_broker_over_tls(make_board, server, broker, certificates.make("authority", ca=True))
        with board.power_on() as power:
            power.expect_event("certificate_refused")
        assert NAME not in broker.output
    assert "telemetry" not in steps(power)


def at_broker_over_tls(make_board, server, broker, authority):
    return make_board(
        server,
        identity={"name": NAME},
        broker={"url": f"mqtts://localhost:{broker.port}/iot/default"},
        clock={"ntp": "", "http_port": server.ports.http},
        files={"ca.der": authority.der},
    )
