"""Devices that provision again over every transport, with servers and sessions: what a board and a clone are told."""

import json

import pytest

from bench.registry import audit, devices, group_keys, profiles
from bench.registry.provision_type import Again
from tests.support.at_rest import everything, holding
from tests.support.mqtt_packets import FAILURE, connack, connect, expect_open
from tests.support.proofs import every_transport, prove, reference
from tests.support.raw_client import RawClient
from tests.support.servers import on_both_databases


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
