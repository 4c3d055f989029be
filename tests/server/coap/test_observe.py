"""Observations over CoAP: shared attributes as they change, and calls."""

import json
import time

import pytest

from bench.registry import timeseries
from bench.registry.model import SHARED_SCOPE
from bench.server.presence import SessionEnd
from tests.support.coap_packets import (
    ACK,
    BLOCK2,
    CON,
    CONTENT_FORMAT,
    EMPTY,
    GET,
    NON,
    OBSERVE,
    POST,
    RST,
    RawPeer,
    block,
    code,
    message,
    number,
    path_options,
)
from tests.support.mqtt_packets import expect_unharmed
from tests.support.servers import TOKEN

ATTRIBUTES, RPC = f"api/v1/{TOKEN}/attributes", f"api/v1/{TOKEN}/rpc"
REGISTER, DEREGISTER = (OBSERVE, b""), (OBSERVE, b"\1")
VALID, CONTENT, DELETED = code(2.03), code(2.05), code(2.02)


def notify(server, device_id, changed, deleted=()):
    async def deed(api):
        api.presence.notify_attributes(device_id, changed, list(deleted))

    server.submit(deed).result()


def end(server, device_id, why=SessionEnd.DELETED):
    async def deed(api):
        api.presence.notify_session_end(device_id, why)

    server.submit(deed).result()


def quiet(server, device_id):
    """Wait until nobody listens for the device."""

    async def deed(api):
        return device_id not in api.presence._devices

    deadline = time.monotonic() + 20
    while not server.submit(deed).result():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def notification(peer, token, payload, kind=CON):
    """The next thing heard is this, and it is acknowledged; gives its sequence number."""
    received = peer.receive()
    assert (received.kind, received.code, received.token) == (kind, CONTENT, token)
    assert json.loads(received.payload) == payload
    assert received.value(CONTENT_FORMAT) == 50
    if kind == CON:
        peer.send(message(ACK, EMPTY, received.mid))
    return received.value(OBSERVE)


def observe(peer, path, token=b"o", kind=CON):
    answer = peer.request(GET, path, options=[REGISTER], token=token, kind=kind)
    assert answer.value(OBSERVE) is not None
    return answer


@pytest.mark.parametrize("option", [REGISTER, DEREGISTER])
def test_observation_with_an_unknown_token_is_401(server, peer, option):
    for what in ("attributes", "rpc"):
        assert peer.request(GET, f"api/v1/unknown/{what}", options=[option]).code == code(4.01)
    assert peer.request(GET, f"api/v1/{TOKEN}/telemetry", options=[option]).code == code(4.00)


def test_attributes_are_sent_at_once_and_when_they_change(server, device_id, peer):
    server.query(lambda registry: registry.write(timeseries.set_attributes, device_id, SHARED_SCOPE, {"a": 1}))
    first = observe(peer, ATTRIBUTES)
    assert (first.code, first.payload, first.value(CONTENT_FORMAT)) == (CONTENT, b'{"a":1}', 50)
    notify(server, device_id, {"a": 2, "b": None})
    second = notification(peer, b"o", {"a": 2, "b": None})
    notify(server, device_id, {"b": 3}, ["a"])
    third = notification(peer, b"o", {"b": 3, "deleted": ["a"]})
    assert first.value(OBSERVE) < second < third


def test_attributes_of_a_device_without_any_are_an_empty_object(server, device_id, peer):
    assert observe(peer, ATTRIBUTES).payload == b"{}"


def test_unconfirmed_observation_gets_unconfirmed_notifications(server, device_id, peer):
    observe(peer, ATTRIBUTES, kind=NON)
    notify(server, device_id, {"a": 2})
    notification(peer, b"o", {"a": 2}, kind=NON)


def test_change_while_the_first_answer_is_made_is_not_lost(server, device_id, peer):
    read = server.api.read_attributes

    async def change_then_read(*args):
        server.api.presence.notify_attributes(device_id, {"late": 1}, [])
        return await read(*args)

    server.api.read_attributes = change_then_read
    assert observe(peer, ATTRIBUTES).payload == b"{}"
    notification(peer, b"o", {"late": 1})


def test_notification_is_repeated_until_it_is_acknowledged(server, device_id, peer):
    observe(peer, ATTRIBUTES)
    notify(server, device_id, {"a": 1})
    first = peer.receive_bytes()
    notify(server, device_id, {"a": 2})
    assert peer.receive_bytes() == first  # and one at a time (NSTART)
    peer.send(message(ACK, EMPTY, int.from_bytes(first[2:4], "big")))
    notification(peer, b"o", {"a": 2})


def test_long_notification_comes_in_blocks(server, device_id, peer):
    values = {"a": "x" * 3000}
    observe(peer, ATTRIBUTES)
    notify(server, device_id, values)
    received = peer.receive()
    peer.send(message(ACK, EMPTY, received.mid))
    assert (received.value(BLOCK2), len(received.payload)) == (0b1110, 1024)
    body = received.payload
    for num in (1, 2):
        body += peer.request(GET, ATTRIBUTES, options=[(BLOCK2, block(num, False, 6))]).payload
    assert json.loads(body) == values


@pytest.mark.parametrize("path", [ATTRIBUTES, RPC])
def test_observation_ends_when_it_is_deregistered(server, device_id, peer, path):
    observe(peer, path)
    answer = peer.request(GET, path, options=[DEREGISTER], token=b"o")
    assert (answer.code, answer.payload, answer.options) == (DELETED, b"", {})
    quiet(server, device_id)
    notify(server, device_id, {"a": 1})
    peer.expect_silence()


@pytest.mark.parametrize("path", [ATTRIBUTES, RPC])
def test_deregistering_what_is_not_observed_is_202(server, device_id, peer, path):
    assert peer.request(GET, path, options=[DEREGISTER]).code == DELETED


def test_observation_ends_when_a_notification_is_rejected(server, device_id, peer):
    observe(peer, ATTRIBUTES)
    notify(server, device_id, {"a": 1})
    peer.send(message(RST, EMPTY, peer.receive().mid))
    quiet(server, device_id)
    expect_unharmed(server, devices=["device"])


@pytest.mark.parametrize("path", [ATTRIBUTES, RPC])
@pytest.mark.parametrize("why", SessionEnd)
def test_observation_ends_with_the_device_s_sessions(server, device_id, peer, path, why):
    observe(peer, path)
    end(server, device_id, why)
    received = peer.receive()
    assert (received.kind, received.token, received.code, received.options) == (CON, b"o", DELETED, {})
    peer.send(message(ACK, EMPTY, received.mid))
    quiet(server, device_id)


@pytest.mark.parametrize("path", [ATTRIBUTES, RPC])
def test_later_observation_takes_the_place_of_the_one_before(server, device_id, peer, path):
    observe(peer, path)
    with RawPeer(server.ports.coap) as other:
        observe(other, path, token=b"p")
        received = peer.receive()
        assert (received.token, received.code) == (b"o", DELETED)
        peer.send(message(ACK, EMPTY, received.mid))
        end(server, device_id)
        assert other.receive().code == DELETED
    peer.expect_silence()
    quiet(server, device_id)


def test_observation_that_is_registered_again_goes_on(server, device_id, peer):
    first, second = observe(peer, ATTRIBUTES), observe(peer, ATTRIBUTES)
    assert first.value(OBSERVE) < second.value(OBSERVE)
    notify(server, device_id, {"a": 1})
    assert notification(peer, b"o", {"a": 1}) > second.value(OBSERVE)
    peer.expect_silence()


def test_attributes_and_calls_are_observed_side_by_side(server, device_id, peer):
    observe(peer, ATTRIBUTES, token=b"a")
    observe(peer, RPC, token=b"r")
    notify(server, device_id, {"a": 1})
    notification(peer, b"a", {"a": 1})
    end(server, device_id)
    watch_session_ends = []
    for _ in range(2):
        watch_session_ends.append(peer.receive())
        peer.send(message(ACK, EMPTY, watch_session_ends[-1].mid))
    assert {(each.token, each.code) for each in watch_session_ends} == {(b"a", DELETED), (b"r", DELETED)}
    quiet(server, device_id)


def call_device(server, device_id, method, params, *, oneway=False):
    return server.submit(lambda api: api.presence.call(device_id, method, params, oneway=oneway, timeout_s=20))


def test_call_is_received_and_answered(server, device_id, peer):
    first = observe(peer, RPC)
    assert (first.code, first.payload) == (VALID, b"")
    calling = call_device(server, device_id, "setGpio", {"pin": 1})
    notification(peer, b"o", {"id": 0, "method": "setGpio", "params": {"pin": 1}})
    assert peer.request(POST, f"{RPC}/0", b'{"done":true}').code == code(2.01)
    assert calling.result(20) == {"done": True}


def test_calls_that_nobody_received_are_sent_to_the_next_observer(server, device_id, peer):
    calls = [call_device(server, device_id, f"m{n}", n, oneway=True) for n in range(3)]
    observe(peer, RPC)
    for n in range(3):
        notification(peer, b"o", {"id": n, "method": f"m{n}", "params": n})
    for each in calls:
        each.result(20)


def test_observers_do_not_keep_a_server_from_its_end(server, device_id):
    peers = [RawPeer(server.ports.coap) for _ in range(20)]
    for peer in peers:
        peer.send(message(CON, GET, 1, b"o", [REGISTER, *path_options(ATTRIBUTES)]))
        assert peer.receive().code == CONTENT
    notify(server, device_id, {"a": 1})  # that nobody acknowledges
    start = time.monotonic()
    server.close()
    assert time.monotonic() - start < 1.5
    for peer in peers:
        peer.socket.close()
    assert server.events("failure") == []


def test_observe_option_of_another_number_registers(server, device_id, peer):
    answer = peer.request(GET, ATTRIBUTES, options=[(OBSERVE, number(5))])
    assert answer.value(OBSERVE) is not None


def test_observer_that_acknowledges_nothing_is_left_after_some_notifications(server, device_id, peer):
    observe(peer, "api/v1/the-token/attributes")
    for n in range(100):  # the first of them is never acknowledged
        notify(server, device_id, {"n": n})
    quiet(server, device_id)
