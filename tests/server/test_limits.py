"""Limits on failed attempts: the rules, by a clock that is turned by hand; then on the wire."""

import contextlib
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.registry.provision_type import ProvisionType
from bench.server import limits as limits_module
from bench.server.limits import AT_ONCE, Limited, Limits, Rules
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import (
    FAILURE,
    NOT_FOUND,
    PROVISION_RESPONSE,
    connack,
    connect,
    held_back_commits,
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


class Clock:
    """Seconds, when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def made(**rules):
    clock = Clock()
    return Limits(Rules(**rules), clock), clock


def attempt(limits, address, name, key="key", *, wrong=True):
    """Return whether an attempt was let through."""
    try:
        limits.check(address, name, key)
    except Limited:
        return False
    if wrong:
        limits.failed(address, name, key)
    return True


def passed(limits, attempts):
    return sum(attempt(limits, *each) for each in attempts)


# The rules.

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def test_caller_is_refused_after_its_failures_and_accepted_again_in_the_next_window():
    limits, clock = made()
    assert passed(limits, [(A, "board")] * 50) == 10
    clock.now += 59.9
    assert not attempt(limits, A, "board")
    clock.now += 0.2
    assert passed(limits, [(A, "board")] * 50) == 10


@pytest.mark.parametrize("passed", [0, 0.5, 30, 59, 59.999])
def test_refusal_has_when_to_come_back(passed):
    limits, clock = made(per_caller=1)
    attempt(limits, A, "board")
    clock.now += passed
    with pytest.raises(Limited) as caught:
        limits.check(A, "board", "key")
    assert isinstance(caught.value.retry_after_s, int)
    assert 1 <= caught.value.retry_after_s <= 61
    clock.now += caught.value.retry_after_s
    limits.check(A, "board", "key")


def test_one_bad_board_never_locks_out_another_behind_the_same_address():
    limits, _ = made()
    assert passed(limits, [(A, "bad")] * 5000) == 10
    for n in range(1000):
        assert attempt(limits, A, f"good-{n}", wrong=False)


def test_guesser_who_makes_up_names_has_the_share_of_its_address():
    limits, _ = made()
    assert passed(limits, [(A, f"name-{n}") for n in range(5000)]) == 120
    assert passed(limits, [(A, f"name-{n}", f"key-{n}") for n in range(5000)]) == 0
    assert attempt(limits, B, "name-1", wrong=False)


def test_key_that_is_guessed_from_everywhere_is_closed_to_the_guessers_alone():
    limits, _ = made()
    crowd = [f"198.51.100.{n}" for n in range(200)]
    assert passed(limits, [(address, "board", "key") for _ in range(10) for address in crowd]) == 600
    assert not any(attempt(limits, address, "another", "key") for address in crowd)
    assert attempt(limits, A, "good", "key", wrong=False)
    assert attempt(limits, crowd[0], "another", "another-key", wrong=False)
    assert attempt(limits, A, "clumsy", "key")  # its first failure with a key that is closed to those who failed
    assert not attempt(limits, A, "good", "key")


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.text(max_size=5)), max_size=40))
def test_ipv6_addresses_of_one_network_are_one(callers):
    limits, _ = made(per_address=5)
    network = 0x20010DB8 << 96
    addresses = [str(_ipv6(network + low)) for low, _ in callers]
    assert passed(limits, [(address, name) for address, (_, name) in zip(addresses, callers, strict=True)]) <= 5
    assert attempt(limits, str(_ipv6(network + (1 << 64))), "x", wrong=False)


def _ipv6(number):
    return ":".join(f"{number >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))


def test_ipv4_address_that_is_written_as_ipv6_is_the_same():
    limits, _ = made(per_address=2)
    assert (
        passed(limits, [(A, "a"), (f"::ffff:{A}", "b"), (A, "c"), (f"::FFFF:{A}", "d"), ("::ffff:c000:201", "e")]) == 2
    )
    assert attempt(limits, f"::ffff:{B}", "a", wrong=False)  # mapped addresses are no network of their own


def test_zone_of_an_address_does_not_make_it_another():
    limits, _ = made(per_address=2)
    assert passed(limits, [("fe80::1%eth0", "a"), ("fe80::1%eth1", "b"), ("fe80::2", "c")]) == 2


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_this_machine_has_no_limits_only_if_they_are_lifted(address):
    limits, _ = made(lift_loopback=True)
    assert passed(limits, [(address, "board")] * 1000) == 1000
    assert passed(limits, [(A, "board")] * 1000) == 10
    limits, _ = made()
    assert passed(limits, [(address, "board")] * 1000) == 10


@pytest.mark.parametrize("address", ["", "testclient", "not an address", "300.1.1.1"])
def test_address_that_is_none_counts_as_it_is(address):
    limits, _ = made(lift_loopback=True)
    assert passed(limits, [(address, "board")] * 1000) == 10


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.0, 1.0, 7.0, 30.0]),  # seconds that pass
        st.sampled_from([A, B, C]),
        st.sampled_from(["n1", "n2", "n3", ""]),
        st.sampled_from(["k1", "k2"]),
        st.booleans(),
    ),
    max_size=120,
)


@given(EVENTS, st.integers(1, 4), st.integers(1, 8), st.integers(1, 12))
def test_decisions_are_those_of_the_rules_written_down_plainly(events, per_caller, per_address, per_key):
    limits, clock = made(per_caller=per_caller, per_address=per_address, per_key=per_key)
    failures, ends = [], None
    for passed, address, name, key, wrong in events:
        clock.now += passed
        if ends is None or clock.now >= ends:
            failures, ends = [], clock.now + 60
        closed = (
            sum((address, name) == each[:2] for each in failures) >= per_caller
            or sum(address == each[0] for each in failures) >= per_address
            or (
                sum(key == each[2] for each in failures) >= per_key
                and any((address, key) == (each[0], each[2]) for each in failures)
            )
        )
        assert attempt(limits, address, name, key, wrong=wrong) is not closed
        if wrong and not closed:
            failures.append((address, name, key))


def test_memory_is_bounded_by_failures_whatever_their_names_and_freed_after_the_window():
    limits, clock = made(per_caller=10**9, per_address=10**9, per_key=10**9)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(2000):
            assert attempt(limits, A, f"{n}" + "x" * 20_000, f"{n}" + "y" * 20_000)
        full, _ = tracemalloc.get_traced_memory()
        assert (full - before) / 2000 < 1500  # bytes a failure; the names alone have 40,000
        clock.now += 60
        attempt(limits, A, "", "")
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < (full - before) / 3  # the interpreter keeps some small objects for later
    finally:
        tracemalloc.stop()


def test_caller_that_is_only_checked_takes_no_memory():
    limits, _ = made()
    limits.check(A, "board", "key")
    tracemalloc.start()
    try:
        for n in range(2000):
            limits.check(f"2001:db8:{n:x}::1", f"board-{n}", f"key-{n}")
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


# On the wire.


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


# Ways around the limits, and ways to turn them against others.


@pytest.mark.parametrize("counted", [True, False])
def test_datagrams_refuse_nothing_but_datagrams(counted):
    limits, _ = made()
    for n in range(1000):
        if not counted:
            limits.failed_at(A, proven=False)
            continue
        with contextlib.suppress(Limited):
            limits.check(A, f"name-{n % 3}", "key", proven=False)
            limits.failed(A, f"name-{n % 3}", "key", proven=False)
    limits.check(A, "name-1", "key")
    limits.check_address(A)
    limits.check(B, "name-1", "key", proven=False)
    assert passed(limits, [(A, "board")] * 50) == 10


def test_connections_refuse_no_datagrams():
    limits, _ = made()
    passed(limits, [(A, f"name-{n}") for n in range(500)])
    limits.check(A, "name-1", "key", proven=False)


def test_unreadable_requests_have_the_share_of_their_address():
    limits, clock = made(per_address=5)
    for _ in range(5):
        limits.check_address(A)
        limits.failed_at(A)
    with pytest.raises(Limited):
        limits.check_address(A)
    assert not attempt(limits, A, "name", wrong=False)
    limits.check_address(B)
    clock.now += 60
    limits.check_address(A)


def test_account_is_served_where_it_was_used_whoever_guesses_beside_it():
    """Behind the same NAT, or everywhere."""
    limits, clock = made(per_address=20, per_key=30)
    limits.check(A, "token-1", "token-1")
    limits.succeeded(A, "token-1")
    assert passed(limits, [(A, f"guess-{n}", f"guess-{n}") for n in range(50)]) == 20
    assert attempt(limits, A, "token-1", "token-1", wrong=False)
    assert not attempt(limits, A, "token-2", "token-2", wrong=False)  # never used from here
    assert attempt(limits, B, "token-1", "token-1", wrong=False)
    clock.now += 600  # it is known as long as there is room
    passed(limits, [(A, f"guess-{n}", f"guess-{n}") for n in range(50)])
    assert attempt(limits, A, "token-1", "token-1", wrong=False)


def test_known_account_has_no_more_guesses_than_others():
    limits, _ = made()
    limits.succeeded(A, "user")
    assert passed(limits, [(A, "user", "user")] * 50) == 10


def test_account_that_is_guessed_from_everywhere_is_closed_to_all_but_where_it_was_used():
    limits, clock = made(per_key=100)
    limits.succeeded(A, "user")
    crowd = [f"198.51.{n // 250}.{n % 250}" for n in range(1000)]
    assert passed(limits, [(address, "user", "user") for address in crowd]) == 100
    assert not attempt(limits, "203.0.113.9", "user", "user", wrong=False)  # which never failed
    assert attempt(limits, A, "user", "user", wrong=False)
    assert attempt(limits, "203.0.113.9", "other", "other", wrong=False)
    clock.now += 60
    assert attempt(limits, "203.0.113.9", "user", "user", wrong=False)


def test_person_s_account_has_so_many_guesses_an_hour_from_everywhere():
    limits, clock = made(per_person=50)
    limits.succeeded(A, "user")

    def guesses(addresses):
        count = 0
        for address in addresses:
            with contextlib.suppress(Limited):
                limits.check(address, "user", "user", person=True)
                limits.failed(address, "user", "user", person=True)
                count += 1
        return count

    total = 0
    for minute in range(59):
        total += guesses([f"198.51.{minute}.{n}" for n in range(5)])
        clock.now += 60
    assert total == 50
    with pytest.raises(Limited) as caught:
        limits.check(B, "user", "user", person=True)
    assert 1 <= caught.value.retry_after_s <= 61
    limits.check(A, "user", "user", person=True)
    limits.check(B, "another", "another", person=True)
    clock.now += caught.value.retry_after_s
    limits.check(B, "user", "user", person=True)


def test_memory_of_counts_and_of_known_accounts_is_bounded(monkeypatch):
    monkeypatch.setattr(limits_module, "COUNTS", 100)
    monkeypatch.setattr(limits_module, "KNOWN", 100)
    limits, _ = made()
    for proven in (True, False):
        for n in range(1000):
            address = f"198.51.{n // 250}.{n % 250}"
            limits.failed(address, f"name-{n}", f"key-{n}", proven=proven, person=True)
            limits.succeeded(address, f"name-{n}", proven=proven)
    for ledger in limits._ledgers.values():
        assert len(ledger._known) == 100
        for counts in (*ledger.window.counts, *ledger.hour.counts):
            assert len(counts._failures) == 100


def test_account_that_is_in_use_is_not_forgotten_for_others(monkeypatch):
    monkeypatch.setattr(limits_module, "KNOWN", 10)
    limits, _ = made()
    for n in range(100):
        limits.succeeded(A, "in use")
        limits.succeeded(A, f"other-{n}")
    assert limits.is_known(A, "in use")
    assert not limits.is_known(A, "other-1")
    assert not limits.is_known(B, "in use")


def test_flood_of_others_does_not_have_a_guesser_forgotten(monkeypatch):
    monkeypatch.setattr(limits_module, "COUNTS", 100)
    limits, _ = made()
    guesses = 0
    for n in range(1000):
        guesses += attempt(limits, A, "user", "user")
        attempt(limits, f"198.51.{n // 250}.{n % 250}", f"name-{n}", f"key-{n}")
        if guesses >= 10 and n > 20:
            limits.failed_at(A)  # it goes on
    assert guesses <= 20


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
