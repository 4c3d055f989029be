"""Devices that provision again over every transport, with servers and sessions: what a board and a clone are told."""

import json
import socket
import time

import pytest

from bench.registry import audit, devices, group_keys, profiles
from bench.registry.clock import now_ms
from bench.registry.provision_type import Again
from bench.registry.reprovisioning import RECENT_S
from bench.server.presence import SessionEnd
from tests.support.at_rest import everything, holding
from tests.support.coap_packets import CON, GET, OBSERVE, POST, RawPeer, message, path_options
from tests.support.http_requests import call
from tests.support.mqtt_packets import FAILURE, connack, connect, expect_open
from tests.support.proofs import every_transport, over_http, prove, reference
from tests.support.raw_client import RawClient
from tests.support.servers import on_both_databases


class Clock:
    """The time of a server's activity, so many seconds on."""

    seconds = 0.0

    def be_that_of(self, activity):
        activity._clock = lambda: now_ms() + round(self.seconds * 1000)


def wait_until_connected(server, device_id, wanted):
    while server.call(lambda api: api.presence.is_connected(device_id)) is not wanted:
        time.sleep(0.01)


def with_policy(server, again):
    """Give the default profile a group key and a policy; returns the key."""

    def change(session):
        profile = profiles.by_name(session, server.profile.name)
        key = group_keys.replace(session, profile)
        group_keys.set_again(profile, again)
        return key

    return server.query(lambda registry: registry.write(change))


def id_of(server):
    return server.query(lambda registry: registry.read(devices.by_name, "press-4")).id


@every_transport
@pytest.mark.parametrize("again", Again)
@on_both_databases
def test_wiped_device_is_answered_by_its_profile_s_policy(server, database, send, again):
    key = with_policy(server, again) if again is not Again.REFUSE else server.profile.provision_secret
    secret = reference(key, "press-4")
    assert b'"SUCCESS"' in prove(server, send, secret, deviceName="press-4", token="the-first-token")[1]
    before = id_of(server)
    body, answer = prove(server, send, secret, deviceName="press-4", token="the-second-token")
    if again is Again.REFUSE:
        assert answer == FAILURE
        return
    assert json.loads(answer)["credentialsValue"] == "the-second-token"
    assert (id_of(server) == before) is (again is Again.KEEP)
    assert send(server, body) == FAILURE
    exchanges = [each for each in server.events("exchange") if each["status"] != "NONCE"]
    assert [(each["status"], each.get("why")) for each in exchanges] == [
        ("SUCCESS", None),
        ("SUCCESS", again),
        ("FAILURE", "replayed"),
    ]
    secret_texts = [secret, body["provisionDeviceProof"], body["provisionDeviceNonce"], "the-second-token", key]
    assert holding(everything(server.data, database), secret_texts) == []
    assert not any(each in json.dumps(server.events()) for each in secret_texts)


@every_transport
@on_both_databases
def test_clone_is_refused_while_the_device_is_online_which_stays_so(server, database, send):
    secret = reference(with_policy(server, Again.KEEP), "press-4")
    prove(server, send, secret, deviceName="press-4", token="the-first-token")
    with RawClient(server.ports.mqtt) as original:
        original.send(connect(username="the-first-token"))
        original.expect(connack(0))
        assert prove(server, send, secret, deviceName="press-4", token="a-clone")[1] == FAILURE
        expect_open(original)
    last = server.events("exchange")[-1]
    assert (last["status"], last["why"], last["device"]) == ("FAILURE", "clone_online", "press-4")
    rows = server.query(lambda registry: registry.read(lambda session: audit.find(session, limit=1)))
    assert [(row.what, row.entity, row.result) for row in rows] == [("provision", "press-4", "clone_online")]
    server.wait_for("offline")
    assert b'"SUCCESS"' in prove(server, send, secret, deviceName="press-4", token="the-second-token")[1]
    assert server.query(lambda registry: registry.token_login("the-first-token")) is None


@every_transport
@pytest.mark.parametrize("transport", ["http", "coap"])
def test_device_without_a_session_is_live_for_a_moment_after_each_request(server, transport, send):
    """Though it is online for ten minutes: it may be wiped, and ask again soon."""
    secret = reference(with_policy(server, Again.KEEP), "press-4")
    prove(server, send, secret, deviceName="press-4", token="the-first-token")
    clock = Clock()
    server.call(lambda api: clock.be_that_of(api.activity))
    if transport == "http":
        assert call(server, "/api/v1/the-first-token/telemetry", b'{"t": 1}')[0] == 200
    else:
        with RawPeer(server.ports.coap) as peer:
            peer.send(message(CON, POST, 7, b"t", path_options("api/v1/the-first-token/telemetry"), b'{"t": 1}'))
            peer.receive()
    clock.seconds = RECENT_S - 1
    assert prove(server, send, secret, deviceName="press-4", token="a-clone")[1] == FAILURE
    clock.seconds = RECENT_S
    assert b'"SUCCESS"' in prove(server, send, secret, deviceName="press-4", token="the-second-token")[1]


@pytest.mark.parametrize("transport", ["http", "coap"])
def test_device_is_live_while_its_poll_is_open(server, transport):
    secret = reference(with_policy(server, Again.KEEP), "press-4")
    prove(server, over_http, secret, deviceName="press-4", token="the-first-token")
    clock = Clock()
    server.call(lambda api: clock.be_that_of(api.activity))

    def again():
        clock.seconds = RECENT_S + 60
        return prove(server, over_http, secret, deviceName="press-4", token="the-second-token")[1]

    device_id = id_of(server)
    if transport == "http":
        with socket.create_connection(("127.0.0.1", server.ports.http)) as poll:
            poll.sendall(b"GET /api/v1/the-first-token/rpc?timeout=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until_connected(server, device_id, True)
            assert again() == FAILURE
        wait_until_connected(server, device_id, False)
    else:
        with RawPeer(server.ports.coap) as peer:
            observe = path_options("api/v1/the-first-token/rpc")
            peer.send(message(CON, GET, 7, b"t", ((OBSERVE, b""), *observe)))
            wait_until_connected(server, device_id, True)
            assert again() == FAILURE
            server.call(lambda api: api.presence.notify_session_end(device_id, SessionEnd.CREDENTIALS_CHANGED))
            wait_until_connected(server, device_id, False)
    assert b'"SUCCESS"' in again()
