"""Limits on failed attempts, on the wire."""

import contextlib
import json

import pytest
from sqlalchemy import select

from bench.registry.model import Audit
from bench.registry.provision_type import ProvisionType
from bench.server.limits import AT_ONCE, Rules
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import (
    FAILURE,
    NOT_FOUND,
    PROVISION_RESPONSE,
    connack,
    connect,
    held_back_commits,
    new_device,
    puback,
    publish,
    request,
    request_body,
    success,
)
from tests.support.operators import account, client, login
from tests.support.provisioning import over_mqtt
from tests.support.raw_client import RawClient
from tests.support.senders import call_from, connack_from, log_in_from, many_addresses, post_from


def log_in(server, code, username, **fields):
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username=username, **fields))
        client.expect(connack(code))


def expect_no_secret(server, *secrets):
    events = json.dumps(server.events())
    for secret in (server.profile.provision_key, server.profile.provision_secret, *secrets):
        assert json.dumps(secret)[1:-1] not in events


def test_wrong_secrets_over_http_are_refused_after_ten_and_other_boards_served(start_server):
    server = start_server(limits=Rules())
    wrong = request_body(server.profile, deviceName="bad", provisionDeviceSecret="nearly-right")
    for _ in range(10):
        assert call(server, PROVISION, wrong)[:2] == (200, NOT_FOUND)
    for _ in range(3):
        code, body, headers = call(server, PROVISION, wrong)
        assert code == 429
        assert 1 <= int(headers["retry-after"]) <= 60
        answer = json.loads(body)
        assert (answer["status"], answer["errorCode"]) == (429, 33)
        assert b"nearly-right" not in body
    right = request_body(server.profile, deviceName="bad", token="right-at-last")
    assert call(server, PROVISION, right)[0] == 429  # not even with the right secret
    good = request_body(server.profile, deviceName="good", token="token-of-good")
    assert call(server, PROVISION, good)[:2] == (200, success("token-of-good"))
    limited = server.events("limited")
    assert len(limited) == 4
    assert all(each["transport"] == "http" and each["peer"] == "127.0.0.1" for each in limited)
    assert all(1 <= each["retry_after_s"] <= 60 for each in limited)
    assert server.device_names() == ["good"]
    expect_no_secret(server, "nearly-right", "right-at-last", "token-of-good")


def rows(server, result):
    """Return the rows of the audit trail with a result, without repetitions."""
    wanted = select(Audit.who, Audit.what, Audit.entity).where(Audit.result == result).distinct()
    return {tuple(row) for row in server.query(lambda registry: registry.read(lambda s: s.execute(wanted).all()))}


def test_whoever_is_limited_is_in_the_audit_trail(start_server):
    server = start_server(limits=Rules(per_caller=2, window_s=3600))
    new_device(server, "device", "its-token")
    wrong = request_body(server.profile, deviceName="bad", provisionDeviceSecret="nearly-right")
    rotating = json.dumps({"method": "rotateCredentials", "params": {"token": ""}}).encode()
    for _ in range(3):
        call(server, PROVISION, wrong)
        call(server, "/api/v1/wrong-token/telemetry", b"{}")
        call(server, "/api/v1/its-token/rpc", rotating)
        with client(server) as stranger:
            stranger.post("/api/auth/login/public", json={"publicId": "nobody"})
            stranger.post("/api/auth/login", json={"username": "a@b.c", "password": "wrong-one"})
    assert rows(server, "limited") == {
        ("device", "provision", "bad"),
        ("device", "login", ""),
        ("device", "device.credentials_updated", "device"),
        ("", "user.login", "nobody"),
        ("a@b.c", "user.login", "a@b.c"),
    }


def test_wrong_secrets_over_mqtt_are_refused_after_ten_and_other_boards_served(start_server):
    server = start_server(limits=Rules())
    for _ in range(10):
        over_mqtt(server, server.profile, NOT_FOUND, deviceName="bad", provisionDeviceSecret="nearly-right")
    for _ in range(3):
        over_mqtt(server, server.profile, None, deviceName="bad", provisionDeviceSecret="nearly-right")
    over_mqtt(server, server.profile, success("token-of-good"), deviceName="good", token="token-of-good")
    log_in(server, 0, "token-of-good")
    assert [each["transport"] for each in server.events("limited")] == ["mqtt"] * 3
    expect_no_secret(server, "nearly-right", "token-of-good")


def test_failures_over_both_transports_count_together(start_server):
    server = start_server(limits=Rules())
    wrong = {"deviceName": "bad", "provisionDeviceSecret": "nearly-right"}
    for _ in range(5):
        over_mqtt(server, server.profile, NOT_FOUND, **wrong)
        assert call(server, PROVISION, request_body(server.profile, **wrong))[0] == 200
    over_mqtt(server, server.profile, None, **wrong)
    assert call(server, PROVISION, request_body(server.profile, **wrong))[0] == 429


def test_success_and_failure_never_count(start_server):
    server = start_server(limits=Rules(per_caller=2, per_address=2, per_key=2))
    tray = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="board", token="a-token-of-its-own")
    for _ in range(20):
        over_mqtt(server, server.profile, FAILURE, deviceName="board")
        body = request_body(tray, deviceName="not there")
        assert call(server, PROVISION, body)[:2] == (200, FAILURE)
        log_in(server, 0, "a-token-of-its-own")
    assert server.events("limited") == []


def test_refused_logins_are_limited_and_others_get_in(start_server):
    server = start_server(limits=Rules())
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="board", token="a-token-of-its-own")
    for _ in range(10):
        log_in(server, 5, "mistyped-token")
    for _ in range(3):
        log_in(server, 3, "mistyped-token")
    log_in(server, 0, "a-token-of-its-own")
    for n in range(10):
        assert call(server, "/api/v1/mistyped-over-http/telemetry", b"{}")[0] == 401, n
    assert call(server, "/api/v1/mistyped-over-http/telemetry", b"{}")[0] == 429
    assert call(server, "/api/v1/a-token-of-its-own/telemetry", b'{"t":1}')[0] == 200
    assert len(server.events("limited")) == 4
    expect_no_secret(server, "mistyped-token", "mistyped-over-http", "a-token-of-its-own")


def test_tokens_that_are_made_up_have_the_share_of_their_address(start_server):
    server = start_server(limits=Rules(per_address=15))
    codes = [call(server, f"/api/v1/guess-{n}/telemetry", b"{}")[0] for n in range(20)]
    assert codes == [401] * 15 + [429] * 5
    log_in(server, 3, "guess-over-mqtt")


def test_guesses_at_once_have_no_more_than_those_one_by_one(start_server):
    """All are on their way before the first is decided: nothing is counted yet when they arrive."""
    server = start_server(limits=Rules(per_address=20))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.ports.http, 30)) for _ in range(150)]
        with held_back_commits(server):
            for n, client in enumerate(clients):
                body = request_body(server.profile, deviceName=f"name-{n}", provisionDeviceSecret=f"guess-{n}")
                head = f"POST /api/v1/provision HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                client.send(head.encode() + body)
            with RawClient(server.ports.http) as later:  # when this is answered, they have all arrived
                later.send(b"POST /api/v1/provision HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                later.expect(b"HTTP/1.1 400 \r\n")
        heads = [client.read(len(b"HTTP/1.1 429")) for client in clients]
    assert set(heads) == {b"HTTP/1.1 200", b"HTTP/1.1 429"}
    assert 20 <= heads.count(b"HTTP/1.1 200") < 20 + AT_ONCE


def test_fleet_that_comes_at_once_is_served_whole(start_server):
    """Behind one address, with the right secret, and many more than may fail."""
    server = start_server(limits=Rules(per_caller=1, per_address=1, per_key=1))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.ports.mqtt, 30)) for _ in range(100)]
        for n, client in enumerate(clients):
            client.send(connect(username="provision") + request(server.profile, deviceName=f"d{n}", token=f"token-{n}"))
        for n, client in enumerate(clients):
            client.expect(connack(0) + puback(1) + publish(PROVISION_RESPONSE, success(f"token-{n}"), qos=1))


def test_wrong_password_is_limited_by_its_user_name(start_server):
    server = start_server(limits=Rules(per_caller=3))
    basic = {"credentialsType": "MQTT_BASIC", "username": "a-user-name", "password": "the-right-one"}
    assert call(server, PROVISION, request_body(server.profile, deviceName="board", **basic))[0] == 200
    log_in(server, 0, "a-user-name", password=b"the-right-one")
    for n in range(3):
        log_in(server, 5, "a-user-name", password=b"guess-%d" % n)
    log_in(server, 3, "a-user-name", password=b"the-right-one")
    expect_no_secret(server, "a-user-name", "the-right-one", "guess-1")


def test_this_machine_is_served_if_limits_are_lifted_for_it(start_server):
    server = start_server(limits=Rules(per_caller=1, per_address=1, per_key=1, lift_loopback=True))
    for _ in range(20):
        over_mqtt(server, server.profile, NOT_FOUND, provisionDeviceSecret="nearly-right")
        log_in(server, 5, "mistyped-token")


@many_addresses
def test_forged_datagrams_cost_their_owner_nothing_over_tcp(start_server):
    server = start_server(limits=Rules(per_address=20))
    victim = "127.0.0.77"
    right = request_body(server.profile, deviceName="board", token="a-token-of-its-own")
    assert call_from(victim, server, PROVISION, right)[0] == 200
    assert post_from(victim, server, "api/v1/a-token-of-its-own/telemetry", b"{a:1}") == 0x41
    wrong = [request_body(server.profile, deviceName=f"n{n}", provisionDeviceSecret="wrong") for n in range(25)]
    assert {post_from(victim, server, "api/v1/provision", body) for body in wrong} == {0x80, 0x9D}  # 4.00 and 4.29
    assert connack_from(victim, server, "a-token-of-its-own") == 0
    assert call_from(victim, server, "/api/v1/a-token-of-its-own/telemetry", b"{}")[0] == 200
    who = account(server)
    assert log_in_from(victim, server, who["username"], who["password"]) == 200
    another = request_body(server.profile, deviceName="another", token="another-token")
    assert call_from(victim, server, PROVISION, another)[0] == 200
    # and over CoAP what was used from there before
    assert post_from(victim, server, "api/v1/a-token-of-its-own/telemetry", b"{a:1}") == 0x41


def test_guesser_behind_the_same_nat_locks_out_no_device_that_was_there(start_server):
    server = start_server(limits=Rules(per_address=5))
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="board", token="a-token-of-its-own")
    log_in(server, 0, "a-token-of-its-own")
    for n in range(5):
        log_in(server, 5, f"guess-{n}")
    log_in(server, 3, "guess-6")
    log_in(server, 0, "a-token-of-its-own")
    assert call(server, "/api/v1/a-token-of-its-own/telemetry", b"{}")[0] == 200


@many_addresses
def test_operator_s_password_that_is_guessed_from_many_addresses_is_closed_to_strangers_only(start_server):
    server = start_server(limits=Rules(per_person=6))
    who = account(server)
    assert log_in_from("127.0.0.1", server, **who) == 200
    guesses = [log_in_from(f"127.0.1.{n}", server, who["username"], f"guess-{n}") for n in range(8)]
    assert guesses == [401] * 6 + [429] * 2
    assert log_in_from("127.0.2.1", server, **who) == 429
    assert log_in_from("127.0.0.1", server, **who) == 200


@pytest.mark.parametrize("body", [b"{", b"{}", b"[]", b"{a:1,", b"\xff", b'{"provisionDeviceKey":"x"}'])
def test_requests_that_cannot_be_read_are_counted(start_server, body):
    server = start_server(limits=Rules(per_address=5))
    statuses = [call(server, PROVISION, body)[0] for _ in range(8)]
    assert statuses == [500] * 5 + [429] * 3
    assert {each["retry_after_s"] > 0 for each in server.events("limited")} == {True}


def test_password_change_is_limited_as_logins_are(start_server):
    server = start_server(limits=Rules(per_caller=3))
    with login(server) as operator:
        form = {"currentPassword": "guess", "newPassword": "a-new-password"}
        statuses = [operator.post("/api/auth/changePassword", json=form).status_code for _ in range(5)]
        assert statuses == [400] * 3 + [429] * 2
        form["currentPassword"] = account(server)["password"]
        assert operator.post("/api/auth/changePassword", json=form).status_code == 429
    with client(server) as anonymous:  # the same guesses at the same password
        assert anonymous.post("/api/auth/login", json=account(server)).status_code == 429


@many_addresses
def test_operator_is_known_after_a_restart_where_they_logged_in(start_server):
    server = start_server(limits=Rules(per_person=3))
    who = account(server)
    assert log_in_from("127.0.0.5", server, **who) == 200
    server.stop()
    server.start()
    guesses = [log_in_from(f"127.0.1.{n}", server, who["username"], f"guess-{n}") for n in range(4)]
    assert guesses == [401] * 3 + [429]
    assert log_in_from("127.0.0.5", server, **who) == 200
    assert log_in_from("127.0.0.6", server, **who) == 429
