"""Long polls: what they receive, and that they end when they should."""

import asyncio
import contextlib
import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.registry.provision_type import ProvisionType
from bench.server.http import device as device_routes
from bench.server.presence import CallUnanswered, SessionEnd
from tests.support.http_requests import call, expect_error, head, listeners, read_response, wait_for_listeners
from tests.support.mqtt_packets import expect_silence, expect_unharmed
from tests.support.raw_client import RawClient

TOKEN = "the-token"
UPDATES, RPC = f"/api/v1/{TOKEN}/attributes/updates", f"/api/v1/{TOKEN}/rpc"
POLLS = [UPDATES, RPC]


@pytest.fixture
def device_id(server):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("device", profile.name, token=TOKEN))
    return server.query(lambda registry: registry.token_login(TOKEN)).id


def notify(server, device_id, changed, deleted):
    async def deed(api):
        api.presence.notify_attributes(device_id, changed, deleted)

    server.submit(deed).result()


def end(server, device_id, why):
    async def deed(api):
        api.presence.notify_session_end(device_id, why)

    server.submit(deed).result()


def call_device(server, device_id, method="reboot", params=None, *, oneway=False, timeout_s=20):
    return server.submit(
        lambda api: api.presence.call(device_id, method, params, oneway=oneway, timeout_s=timeout_s),
    )


@contextlib.contextmanager
def polling(server, device_id, path, count=1):
    """Clients that wait, and the server knows."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.ports.http, timeout_s=20)) for _ in range(count)]
        for client in clients:
            client.send(head(path, method="GET"))
        wait_for_listeners(server, device_id, count)
        yield clients


@pytest.mark.parametrize("path", POLLS)
def test_poll_of_an_unknown_token_is_401(shared_server, path):
    assert call(shared_server, path, method="GET")[:2] == (401, b"")


@pytest.mark.parametrize("path", POLLS)
@pytest.mark.parametrize("timeout", ["x", "1.5", "9223372036854775808", "%00", "-"])
def test_poll_with_a_timeout_that_is_none_is_400(shared_server, path, timeout):
    message = "Method parameter 'timeout': Failed to convert value to required type 'long'"
    expect_error(call(shared_server, f"{path}?timeout={timeout}", method="GET"), 400, message, 31)


@pytest.mark.parametrize("path", POLLS)
@pytest.mark.parametrize("timeout", ["1", "50", "-1", "-9223372036854775808"])
def test_poll_that_receives_nothing_is_408(server, device_id, path, timeout):
    assert call(server, f"{path}?timeout={timeout}", method="GET")[:2] == (408, b"")
    assert listeners(server, device_id) == 0


@pytest.mark.parametrize("path", POLLS)
@pytest.mark.parametrize("timeout", ["", "?timeout=", "?timeout=0", "?timeout=9223372036854775807"])
def test_poll_waits_by_default_and_with_a_timeout_beyond_all_bounds(server, device_id, path, timeout):
    with polling(server, device_id, path + timeout) as (client,):
        expect_silence(client)


@pytest.mark.parametrize("timeout", ["", "?timeout=0", "?timeout=30000", "?timeout=9223372036854775807"])
def test_poll_ends_with_503_after_its_longest_wait(server, device_id, monkeypatch, timeout):
    assert (device_routes._TIMEOUT_MS, device_routes._LONGEST_S) == (60_000, 30)
    monkeypatch.setattr(device_routes, "_LONGEST_S", 0.05)
    for path in POLLS:
        assert call(server, path + timeout, method="GET")[:2] == (503, b"")


@pytest.mark.parametrize("path", POLLS)
@pytest.mark.parametrize("why", SessionEnd)
def test_poll_ends_with_the_device_s_sessions(server, device_id, path, why):
    with polling(server, device_id, path) as (client,):
        end(server, device_id, why)
        assert read_response(client) == (408, b"")
    assert listeners(server, device_id) == 0


@pytest.mark.parametrize("path", POLLS)
def test_poll_whose_client_leaves_ends(server, device_id, path):
    with polling(server, device_id, path, count=3):
        pass
    wait_for_listeners(server, device_id, 0)
    expect_unharmed(server, devices=["device"])


@pytest.mark.parametrize("path", POLLS)
def test_poll_does_not_keep_a_server_from_its_end(server, device_id, path):
    with polling(server, device_id, path, count=20) as clients:
        start = time.monotonic()
        server.close()
        assert time.monotonic() - start < 1.5  # less than the grace of requests in flight
        for client in clients:
            assert read_response(client) == (503, b"")
            client.expect_closed()


def test_updates_are_sent_to_all_who_poll_and_once(server, device_id):
    with polling(server, device_id, UPDATES, count=2) as clients:
        notify(server, device_id, {"a": 1, "b": [None]}, ["c"])
        for client in clients:
            status, body = read_response(client)
            assert (status, json.loads(body)) == (200, {"a": 1, "b": [None], "deleted": ["c"]})
        wait_for_listeners(server, device_id, 0)
        notify(server, device_id, {"a": 2}, [])
        for client in clients:
            expect_silence(client, 0.1)


def test_call_is_received_and_answered(server, device_id):
    with polling(server, device_id, RPC) as (client,):
        calling = call_device(server, device_id, "setGpio", {"pin": 1})
        assert read_response(client) == (200, b'{"id":0,"method":"setGpio","params":{"pin":1}}')
    assert call(server, f"{RPC}/0", b'{"done":true}')[:2] == (200, b"")
    assert calling.result(20) == {"done": True}


def test_call_without_an_answer_is_sent_to_every_poll(server, device_id):
    calling = call_device(server, device_id)
    for _ in range(3):
        assert call(server, RPC, method="GET")[:2] == (200, b'{"id":0,"method":"reboot","params":null}')
    assert call(server, f"{RPC}/0", b"1")[:2] == (200, b"")
    assert calling.result(20) == 1
    assert call(server, f"{RPC}?timeout=1", method="GET")[0] == 408


def test_call_that_nobody_receives_waits_for_a_poll(server, device_id):
    calling = call_device(server, device_id, "reboot", oneway=True)
    assert call(server, RPC, method="GET")[:2] == (200, b'{"id":0,"method":"reboot","params":null}')
    calling.result(20)
    assert call(server, f"{RPC}?timeout=1", method="GET")[0] == 408


def test_each_poll_receives_one_call_and_no_call_is_lost(server, device_id):
    async def all_at_once(api):
        calls = [api.presence.call(device_id, f"m{n}", n, oneway=True, timeout_s=20) for n in range(5)]
        await asyncio.gather(*calls)

    calling = server.submit(all_at_once)
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor())
        found = [executor.submit(call, server, RPC, method="GET") for _ in range(5)]
        received = [json.loads(each.result(20)[1]) for each in found]
    calling.result(20)
    assert sorted(each["id"] for each in received) == [0, 1, 2, 3, 4]
    assert sorted(each["method"] for each in received) == ["m0", "m1", "m2", "m3", "m4"]


def test_call_that_a_poll_had_no_room_for_is_unheard(server, device_id):
    async def two_at_once(api):
        first = asyncio.ensure_future(api.presence.call(device_id, "a", None, oneway=True, timeout_s=20))
        second = asyncio.ensure_future(api.presence.call(device_id, "b", None, oneway=True, timeout_s=0.3))
        await first
        with pytest.raises(CallUnanswered):
            await second

    with polling(server, device_id, RPC) as (client,):
        server.submit(two_at_once).result(20)
        assert read_response(client) == (200, b'{"id":0,"method":"a","params":null}')


def test_many_polls_cost_little(server, device_id, record_property):
    count = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    with polling(server, device_id, UPDATES, count=count) as clients:
        expect_unharmed(server, devices=["device"])
        start = time.monotonic()
        notify(server, device_id, {"a": 1}, [])
        for client in clients:
            assert read_response(client) == (200, b'{"a":1}')
        record_property("told", f"{count} long polls answered in {time.monotonic() - start:.2f} s")
