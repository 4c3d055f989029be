"""Persistent calls, from the operator's request to the device's answer, and through the end of the server."""

import contextlib
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.registry import calls
from bench.registry.clock import now_ms
from bench.server import awaited_acks
from tests.support.coap_packets import ACK, CON, EMPTY, GET, NON, OBSERVE, POST, RawPeer, code, message
from tests.support.gateways import CONNECT, RPC, device_id, new_gateway, received, send
from tests.support.http_requests import call as http
from tests.support.http_requests import wait_for_listeners
from tests.support.mqtt_packets import PINGREQ, PINGRESP, VERSIONS, device_session, expect_open, expect_silence
from tests.support.operators import login, new_device, ok
from tests.support.server_process import Serving
from tests.support.servers import TOKEN, on_both_databases

V = VERSIONS["3.1.1"]
REQUEST, RESPONSE = "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"
UNTIL_S = 20.0


@pytest.fixture
def made(server, server_operator):
    """A device: its id."""
    return ok(server_operator.post(f"/api/device?accessToken={TOKEN}", json={"name": "press-4"}))["id"]["id"]


def keep(operator, device, method="m", way="twoway", **fields):
    """Make a persistent call; return its id."""
    form = {"method": method, "params": {}, "persistent": True, **fields}
    answer = ok(operator.post(f"/api/rpc/{way}/{device}", json=form))
    assert set(answer) == {"rpcId"}
    return answer["rpcId"]


def read(operator, call_id):
    return ok(operator.get(f"/api/rpc/persistent/{call_id}"))


def status(operator, call_id, expected):
    """Wait until a call has a status, and return the call."""
    deadline = time.monotonic() + UNTIL_S
    while (call := read(operator, call_id))["status"] != expected:
        assert time.monotonic() < deadline, call
        time.sleep(0.01)
    return call


@contextlib.contextmanager
def listening(server, qos=1, token=TOKEN):
    with device_session(server, V, token) as client:
        subscribe(client, qos)
        yield client


def subscribe(client, qos=1):
    client.send(V.subscribe(1, (f"{REQUEST}+", qos)))
    client.expect(V.suback(1, qos))


def receive(client, number, method="m", params=None, *, qos=1, packet_id=1):
    body = json.dumps(
        {"method": method, "params": {} if params is None else params}, separators=(",", ":"), ensure_ascii=False
    )
    client.expect(V.publish(f"{REQUEST}{number}", body.encode(), qos=qos, packet_id=packet_id))


@on_both_databases
def test_device_that_was_away_gets_its_calls_in_order(server, server_operator, made):
    ids = [keep(server_operator, made, f"m{n}", "oneway" if n % 2 else "twoway") for n in range(6)]
    assert {read(server_operator, each)["status"] for each in ids} == {"QUEUED"}
    with listening(server) as client:
        for n in range(6):
            receive(client, n, f"m{n}", packet_id=n + 1)
        for each in ids:
            status(server_operator, each, "SENT")
        client.send(b"".join(V.puback(n + 1) for n in range(6)))
        for each in ids:
            status(server_operator, each, "DELIVERED")
        client.send(V.publish(f"{RESPONSE}2", b'{"done":[1.5,"x"]}', qos=1, packet_id=9))
        client.expect(V.puback(9))
        # the acknowledgement comes when it is stored; a one-way call is at its end
        assert read(server_operator, ids[2])["response"] == {"done": [1.5, "x"]}
        assert [read(server_operator, each)["status"] for each in ids[:3]] == ["DELIVERED", "DELIVERED", "SUCCESSFUL"]
        client.send(V.publish(f"{RESPONSE}1", b"1") + V.publish(f"{RESPONSE}2", b"2") + PINGREQ)
        client.expect(PINGRESP)
    assert read(server_operator, ids[1])["response"] is None
    assert read(server_operator, ids[2])["response"] == {"done": [1.5, "x"]}
    assert server.events("failure") == []


def test_device_that_listens_gets_a_call_at_once_and_without_acknowledgement_it_is_delivered(
    server, server_operator, made
):
    with listening(server, qos=0) as client:
        for n, (way, last) in enumerate([("oneway", "DELIVERED"), ("twoway", "SUCCESSFUL")]):
            call_id = keep(server_operator, made, way=way)
            receive(client, n, qos=0)
            status(server_operator, call_id, "DELIVERED")
            client.send(V.publish(f"{RESPONSE}{n}", b"null", qos=1))
            client.expect(V.puback(1))
            assert read(server_operator, call_id)["status"] == last


@pytest.mark.parametrize("acknowledged", [False, True])
def test_open_call_is_sent_at_each_subscription_under_its_number(server, server_operator, made, acknowledged):
    call_id = keep(server_operator, made)
    for _ in range(2):
        with listening(server) as client:
            for packet_id in (1, 2):
                receive(client, 0, packet_id=packet_id)
                client.send(V.puback(packet_id) if acknowledged else b"")
                if packet_id == 1:
                    subscribe(client)
            status(server_operator, call_id, "DELIVERED" if acknowledged else "SENT")
    with listening(server) as client:
        receive(client, 0)
        client.send(V.publish(f"{RESPONSE}0", b"1", qos=1))
        client.expect(V.puback(1))
        subscribe(client)
        expect_silence(client)
    assert read(server_operator, call_id)["status"] == "SUCCESSFUL"


def test_call_that_is_not_acknowledged_is_sent_again_at_the_next_subscription(
    server, server_operator, made, monkeypatch
):
    monkeypatch.setattr(awaited_acks, "ACKNOWLEDGED_S", 0.1)
    never, twice = keep(server_operator, made, retries=0), keep(server_operator, made, "n", retries=1)
    with listening(server) as client:
        receive(client, 0)
        receive(client, 1, "n", packet_id=2)
    failed = status(server_operator, never, "FAILED")
    assert failed["response"]["error"].endswith("Retry attempts set: 0")
    status(server_operator, twice, "TIMEOUT")
    with listening(server) as client:
        receive(client, 1, "n")
        client.send(V.puback(1))
        status(server_operator, twice, "DELIVERED")
        time.sleep(0.3)  # no time runs for what is acknowledged
    assert read(server_operator, twice)["status"] == "DELIVERED"


def test_call_expires_at_its_time_wherever_it_is(server, server_operator, made):
    at = now_ms() + 1_500
    delivered, sent = [keep(server_operator, made, expirationTime=at) for _ in range(2)]
    oneway = keep(server_operator, made, way="oneway", expirationTime=at)
    with listening(server) as client:
        for n in range(3):
            receive(client, n, packet_id=n + 1)
        client.send(V.puback(1) + V.puback(3))
        status(server_operator, delivered, "DELIVERED")
        status(server_operator, oneway, "DELIVERED")
    away = keep(server_operator, made, expirationTime=at)
    for each in (delivered, sent, away):
        status(server_operator, each, "EXPIRED")
    assert now_ms() >= at
    with listening(server) as client:
        expect_silence(client)
        client.send(V.publish(f"{RESPONSE}0", b"1", qos=1))  # too late
        client.expect(V.puback(1))
    assert read(server_operator, delivered)["status"] == "EXPIRED"
    assert read(server_operator, oneway)["status"] == "DELIVERED"


@pytest.mark.parametrize(("path", "over"), [("rpc", 504), ("plugins/rpc", 408)])
def test_call_that_is_over_already_is_kept_as_expired_and_never_sent(server, server_operator, made, path, over):
    form = {"method": "m", "persistent": True, "expirationTime": now_ms() - 1, "requestUUID": str(uuid.uuid4())}
    with listening(server) as client:
        answer = server_operator.post(f"/api/{path}/twoway/{made}", json=form)
        assert (answer.status_code, answer.content) == (over, b"")
        expect_silence(client)
    assert read(server_operator, form["requestUUID"])["status"] == "EXPIRED"


def test_deleted_call_is_gone_and_sent_to_nobody(server, server_operator, made):
    gone, kept = keep(server_operator, made), keep(server_operator, made, "kept")
    ok(server_operator.delete(f"/api/rpc/persistent/{gone}"))
    assert server_operator.get(f"/api/rpc/persistent/{gone}").status_code == 404
    assert server_operator.delete(f"/api/rpc/persistent/{gone}").status_code == 404
    with listening(server) as client:
        receive(client, 1, "kept")
        ok(server_operator.delete(f"/api/rpc/persistent/{kept}"))
        client.send(V.puback(1) + V.publish(f"{RESPONSE}1", b"1", qos=1))
        client.expect(V.puback(1))
        subscribe(client)
        expect_silence(client)
    assert server_operator.get(f"/api/rpc/persistent/{kept}").status_code == 404
    assert server.events("failure") == []


def test_calls_end_with_their_device(server, server_operator, made):
    ids = [keep(server_operator, made) for _ in range(2)]
    with listening(server) as client:
        receive(client, 0)
        ok(server_operator.delete(f"/api/device/{made}"))
    assert {server_operator.get(f"/api/rpc/persistent/{each}").status_code for each in ids} == {404}
    again = ok(server_operator.post(f"/api/device?accessToken={TOKEN}", json={"name": "press-4"}))["id"]["id"]
    with listening(server) as client:
        expect_silence(client)
        keep(server_operator, again)
        receive(client, 0)
    assert uuid.UUID(made) not in server.api.calls._devices
    assert server.events("failure") == []


BAD_ANSWERS = [b"OK", b"{a:1}", b"NaN", b"\xff\xfe", b"\0", b'"\\ud800"', b"[" * 500, b"007"]


@pytest.mark.parametrize("payload", BAD_ANSWERS)
def test_answer_that_is_not_json_is_kept_as_an_error(server, server_operator, made, payload):
    call_id = keep(server_operator, made)
    with listening(server) as client:
        receive(client, 0)
        client.send(V.publish(f"{RESPONSE}0", payload, qos=1))
        client.expect(V.puback(1))
    call = read(server_operator, call_id)
    assert (call["status"], call["response"]) == ("SUCCESSFUL", {"error": payload.decode(errors="replace")})


def test_empty_answer_is_none_at_all(server, server_operator, made):
    call_id = keep(server_operator, made)
    with listening(server) as client:
        receive(client, 0)
        client.send(V.publish(f"{RESPONSE}0", b"", qos=1))
        client.expect(V.puback(1))
    call = read(server_operator, call_id)
    assert (call["status"], call["response"]) == ("SUCCESSFUL", None)


def test_device_does_not_answer_for_another_one(server, server_operator, made):
    call_id = keep(server_operator, made)
    with listening(server) as client:
        receive(client, 0)
    ok(server_operator.post("/api/device?accessToken=another-token", json={"name": "press-5"}))
    with listening(server, token="another-token") as other:
        other.send(V.publish(f"{RESPONSE}0", b"1", qos=1))
        other.expect(V.puback(1))
    assert read(server_operator, call_id)["status"] == "SENT"


def test_poll_gets_one_call_and_the_same_again_until_it_is_answered(server, server_operator, made):
    path = f"/api/v1/{TOKEN}/rpc"
    first, second = keep(server_operator, made, "a"), keep(server_operator, made, "b", "oneway")
    for _ in range(2):
        answer = http(server, path, method="GET")
        assert (answer[0], json.loads(answer[1])) == (200, {"id": 0, "method": "a", "params": {}})
        status(server_operator, first, "DELIVERED")
        assert read(server_operator, second)["status"] == "QUEUED"
    assert http(server, f"{path}/0", b'{"a":1}')[0] == 200
    assert status(server_operator, first, "SUCCESSFUL")["response"] == {"a": 1}
    assert json.loads(http(server, path, method="GET")[1])["id"] == 1
    status(server_operator, second, "DELIVERED")
    assert http(server, f"{path}?timeout=100", method="GET")[0] == 408


def test_poll_that_waits_gets_a_new_call(server, server_operator, made):
    with ThreadPoolExecutor(1) as polls:
        poll = polls.submit(http, server, f"/api/v1/{TOKEN}/rpc", method="GET")
        wait_for_listeners(server, uuid.UUID(made), 1)
        call_id = keep(server_operator, made)
        assert json.loads(poll.result(UNTIL_S)[1]) == {"id": 0, "method": "m", "params": {}}
    status(server_operator, call_id, "DELIVERED")


@pytest.mark.parametrize("kind", [CON, NON])
@pytest.mark.parametrize("size", [2, 3_000])
def test_observer_gets_all_calls_and_acknowledges_them(server, server_operator, made, kind, size):
    params = "x" * (size - 2)
    ids = [keep(server_operator, made, params=params, way=way) for way in ("twoway", "oneway")]
    path = f"api/v1/{TOKEN}/rpc"
    with RawPeer(server.ports.coap) as peer:
        peer.request(GET, path, options=[(OBSERVE, b"")], token=b"o", kind=kind)
        for each in ids:
            received = peer.receive()
            assert received.kind == kind
            if kind == CON:
                status(server_operator, each, "SENT")
                peer.send(message(ACK, EMPTY, received.mid))
            status(server_operator, each, "DELIVERED")
        assert peer.request(POST, f"{path}/0", b'{"done":true}').code == code(2.01)
    assert read(server_operator, ids[0])["response"] == {"done": True}
    assert server.events("failure") == []


def test_observer_that_acknowledges_nothing_has_a_timeout(server, server_operator, made, monkeypatch):
    monkeypatch.setattr(awaited_acks, "ACKNOWLEDGED_S", 0.1)
    call_id = keep(server_operator, made, retries=0)
    with RawPeer(server.ports.coap) as peer:
        peer.request(GET, f"api/v1/{TOKEN}/rpc", options=[(OBSERVE, b"")], token=b"o")
        peer.receive()
        status(server_operator, call_id, "FAILED")


# The end of the server.


@on_both_databases
def test_calls_survive_a_restart_and_only_unsent_ones_are_sent(server, server_operator, made):
    sent = keep(server_operator, made, "sent", expirationTime=now_ms() + 4_000)
    with listening(server) as client:
        receive(client, 0, "sent")
        status(server_operator, sent, "SENT")
    over = keep(server_operator, made, "over", expirationTime=now_ms() + 300)
    queued = [keep(server_operator, made, f"m{n}", params={"n": [n, 1.5, "é"]}) for n in range(2)]
    server.stop()
    time.sleep(0.35)
    server.start()
    with login(server) as operator:
        status(operator, over, "EXPIRED")
        with listening(server) as client:
            for n in range(2):
                receive(client, n, f"m{n}", {"n": [n, 1.5, "é"]}, packet_id=n + 1)
            for n, call_id in enumerate(queued):
                client.send(V.puback(n + 1) + V.publish(f"{RESPONSE}{n}", b"true", qos=1))
                client.expect(V.puback(1))
                assert read(operator, call_id)["response"] is True
            expect_silence(client)
        assert read(operator, sent)["status"] in ("SENT", "EXPIRED")
        status(operator, sent, "EXPIRED")


@pytest.mark.slow
def test_calls_that_were_answered_with_an_id_survive_a_kill(tmp_path):
    promised = []

    def addresses(serving):
        class Running:
            data = tmp_path / "data"

            class ports:  # noqa: N801
                http, mqtt = serving.ready["http_port"], serving.ready["mqtt_port"]

        return Running

    with Serving(tmp_path / "data", tmp_path / "output") as serving, login(addresses(serving)) as operator:
        device = new_device(operator)["id"]["id"]
        token = ok(operator.get(f"/api/device/{device}/credentials"))["credentialsId"]
        stop = threading.Timer(0.5, serving.kill)
        stop.start()
        with contextlib.suppress(Exception):
            while len(promised) < calls.OPEN:
                promised.append(keep(operator, device, f"m{len(promised)}", timeout=600_000))
        stop.join()
    assert promised
    with (
        Serving(tmp_path / "data", tmp_path / "output") as serving,
        login(addresses(serving)) as operator,
        listening(addresses(serving), token=token) as client,
    ):
        for n in range(len(promised)):
            receive(client, n, f"m{n}", packet_id=n + 1)
            client.send(V.puback(n + 1))
        # A call more may have been kept, and be unread here: a connection that closes then takes what it sent with it.
        for each in promised:
            status(operator, each, "DELIVERED")


# Many at once.


@on_both_databases
def test_operators_make_and_delete_calls_at_once_and_nothing_is_lost(server, server_operator, made):
    workers, each_one = 20, 6
    kept, gone, full = [], [], []

    def work(number):
        with login(server) as operator:
            for n in range(each_one):
                answer = operator.post(
                    f"/api/rpc/twoway/{made}", json={"method": f"{number}-{n}", "persistent": True, "timeout": 600_000}
                )
                if answer.status_code == 400:
                    full.append(answer.text)
                    continue
                call_id = ok(answer)["rpcId"]
                if n % 3 == 2:
                    ok(operator.delete(f"/api/rpc/persistent/{call_id}"))
                    gone.append(call_id)
                else:
                    kept.append((call_id, f"{number}-{n}"))

    received = {}
    with listening(server) as client, ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
        client.socket.settimeout(UNTIL_S)
        # all that were made came, each once, and under a number of its own
        for packet_id in range(1, len(kept) + len(gone) + 1):
            first, length = client.read(2)
            assert first == 0x32
            body = client.read(length if length < 128 else length - 128 + 128 * client.read(1)[0])
            size = int.from_bytes(body[:2], "big")
            topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
            assert int.from_bytes(rest[:2], "big") == packet_id
            received[json.loads(rest[2:])["method"]] = int(topic.removeprefix(REQUEST))
        expect_open(client)
        assert sorted(received.values()) == list(range(len(received)))
        for _, method in kept:
            client.send(V.publish(f"{RESPONSE}{received[method]}", json.dumps(method).encode(), qos=1))
            client.expect(V.puback(1))
    for call_id, method in kept:
        call = read(server_operator, call_id)
        assert (call["status"], call["response"], call["request"]["body"]["method"]) == ("SUCCESSFUL", method, method)
    assert {server_operator.get(f"/api/rpc/persistent/{each}").status_code for each in gone} == {404}
    assert len(kept) + len(gone) + len(full) == workers * each_one
    page = ok(server_operator.get(f"/api/rpc/persistent/device/{made}?pageSize=1000&page=0"))
    assert page["totalElements"] == len(kept)
    assert server.events("failure") == []


def test_device_that_subscribes_without_end_is_sent_its_calls_a_few_times_only(server, server_operator, made):
    keep(server_operator, made)
    with device_session(server, V) as client:
        client.send(V.subscribe(1, (f"{REQUEST}+", 1)) * 500 + PINGREQ)
        received = b""
        while not (PINGRESP in received and REQUEST.encode() in received):  # a call may come behind the PINGRESP
            received += client.socket.recv(65536)
    assert 1 <= received.count(REQUEST.encode()) < 250


def test_device_without_calls_costs_no_look_into_the_database(server, server_operator, made, monkeypatch):
    looks = []
    find = calls.open_calls
    monkeypatch.setattr(calls, "open_calls", lambda *args: looks.append(1) or find(*args))
    with listening(server) as client:
        subscribe(client)
        expect_open(client)
        assert not looks
    call_id = keep(server_operator, made)
    with listening(server) as client:
        receive(client, 0)
        client.send(V.publish(f"{RESPONSE}0", b"1", qos=1))
        client.expect(V.puback(1))
    assert len(looks) == 1
    assert read(server_operator, call_id)["status"] == "SUCCESSFUL"


def test_calls_of_a_device_behind_a_gateway_go_to_the_gateway(server, server_operator):
    new_gateway(server, "gateway")
    with device_session(server, V, "gateway") as client:
        send(client, V, CONNECT, {"device": "sub"})
    sub = str(device_id(server, "sub"))
    ids = [keep(server_operator, sub, f"m{n}") for n in range(2)]

    def sent(number, **data):
        return received(V, RPC, {"device": "sub", "data": {"id": number, **data}}, packet_id=number + 1)

    with device_session(server, V, "gateway") as client:
        expect_open(client)
        assert read(server_operator, ids[0])["status"] == "QUEUED"
        send(client, V, CONNECT, {"device": "sub"}, packet_id=7)
        client.expect(sent(0, method="m0", params={}) + sent(1, method="m1", params={}))
        status(server_operator, ids[0], "SENT")
        client.send(V.puback(1))
        status(server_operator, ids[0], "DELIVERED")
        send(client, V, RPC, {"device": "sub", "id": 0, "data": {"done": 1}}, packet_id=8)
        assert read(server_operator, ids[0])["response"] == {"done": 1}
        late = keep(server_operator, sub, "late", way="oneway")
        client.expect(sent(2, method="late", params={}))
        client.send(V.puback(3))
        status(server_operator, late, "DELIVERED")
        send(client, V, RPC, {"device": "other", "id": 1, "data": "of another device"}, packet_id=9)
    with device_session(server, V, "gateway") as client:  # what has no answer comes again
        send(client, V, CONNECT, {"device": "sub"}, packet_id=7)
        body = {"device": "sub", "data": {"id": 1, "method": "m1", "params": {}}}
        client.expect(received(V, RPC, body, packet_id=1))
        send(client, V, RPC, {"device": "sub", "id": 1, "data": None}, packet_id=8)
    assert [read(server_operator, each)["status"] for each in ids] == ["SUCCESSFUL"] * 2
