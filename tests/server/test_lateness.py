"""A server that is as late as a production server: what is acknowledged is not yet stored."""

import asyncio
import json
import time
import uuid

from bench.registry.batching import Conflict
from bench.server import lateness
from bench.server.lateness import LateStore
from bench.server.presence import SessionEnd
from tests.support.http_requests import call
from tests.support.mqtt_packets import (
    ATTRIBUTES,
    TELEMETRY,
    VERSIONS,
    device_session,
    expect_open,
    new_device,
    stored,
)
from tests.support.servers import TOKEN

V3 = VERSIONS["3.1.1"]
ONE, OTHER = uuid.uuid4(), uuid.uuid4()


def read_pubacks(client, count):
    found = [client.read(4) for _ in range(count)]
    assert {each[:2] for each in found} == {b"\x40\x02"}
    return [int.from_bytes(each[2:], "big") for each in found]


def test_message_is_stored_some_time_after_its_puback(start_server):
    server = start_server(like_production=True)
    new_device(server)
    with device_session(server, V3) as client:
        client.send(V3.publish(ATTRIBUTES, b'{"a":1}', qos=1) + V3.publish(TELEMETRY, b'{"b":2}', qos=1, packet_id=2))
        assert sorted(read_pubacks(client, 2)) == [1, 2]
        begin = time.monotonic()
        while stored(server) != ({"b": 2}, {"a": 1}):
            assert time.monotonic() < begin + 5
    assert call(server, f"/api/v1/{TOKEN}/attributes", b'{"a":3}')[:2] == (200, b"")
    answer = json.loads(call(server, f"/api/v1/{TOKEN}/attributes?clientKeys=a", method="GET")[1])
    assert answer == {"client": {"a": 1}}


def test_pubacks_change_places(start_server):
    server = start_server(like_production=True)
    new_device(server)
    with device_session(server, V3) as client:
        client.send(b"".join(V3.publish(TELEMETRY, b"{}", qos=1, packet_id=n + 1) for n in range(100)))
        order = read_pubacks(client, 100)
    assert sorted(order) == list(range(1, 101)) != order


def test_what_was_acknowledged_is_stored_before_the_server_ends(start_server):
    server = start_server(like_production=True)
    new_device(server)
    with device_session(server, V3) as client:
        for n in range(20):
            client.send(V3.publish(TELEMETRY, b'{"n":%d}' % n, qos=1, packet_id=n + 1))
        read_pubacks(client, 20)
        server.stop()
    server.start()
    assert stored(server)[0] == {"n": 19}


def test_new_credentials_right_after_connack_leave_the_session_open(start_server):
    server = start_server(like_production=True)
    new_device(server)
    device_id = server.query(lambda registry: registry.token_login(TOKEN)).id
    changed = lambda api: api.presence.notify_session_end(device_id, SessionEnd.CREDENTIALS_CHANGED)  # noqa: E731
    with device_session(server, V3) as client:
        server.call(changed)
        expect_open(client)
        time.sleep(lateness.PRODUCTION.session_s)
        server.call(changed)
        client.expect_closed()
    with device_session(server, V3) as client:
        server.call(lambda api: api.presence.notify_session_end(device_id, SessionEnd.DELETED))
        client.expect_closed()


def test_change_right_after_suback_is_missed(start_server):
    server = start_server(like_production=True)
    new_device(server)
    device_id = server.query(lambda registry: registry.token_login(TOKEN)).id
    begin = lateness.PRODUCTION.begin

    async def begin_now_and_soon(api):
        received = []

        def listen():
            return api.presence.listen_attributes(device_id, lambda *change: received.append(change))

        stop = begin(0.05, listen)
        api.presence.notify_attributes(device_id, {"a": 1}, [])
        await asyncio.sleep(0.1)
        api.presence.notify_attributes(device_id, {"a": 2}, [])
        stop()
        api.presence.notify_attributes(device_id, {"a": 3}, [])
        stopped = begin(0.05, listen)
        stopped()
        await asyncio.sleep(0.1)
        api.presence.notify_attributes(device_id, {"a": 4}, [])
        return received

    assert server.call(begin_now_and_soon) == [({"a": 2}, [])]


def test_messages_of_a_device_are_stored_in_their_order():
    async def scenario():
        order, failures, gone = [], [], []
        late = LateStore(failures.append, gone.append)

        async def store(device, number):
            await asyncio.sleep(0)
            if number == 3:
                raise Conflict("deleted")
            if number == 4:
                raise OSError("no disk")
            order.append((device, number))

        for number in range(10):
            for device in (ONE, OTHER):
                await late.put(device, (0.0, 0.02), lambda device=device, number=number: store(device, number))
        assert order == []
        await late.drain()
        for device in (ONE, OTHER):
            assert [number for of, number in order if of is device] == [0, 1, 2, 5, 6, 7, 8, 9]
        assert [type(each) for each in failures] == [OSError, OSError]
        assert sorted(gone) == sorted([ONE, OTHER])
        assert not late._last

    asyncio.run(scenario())


def test_server_is_on_time_by_default(server):
    assert server.api.lateness == lateness.NONE
    assert not any(lateness.NONE.store_s)
