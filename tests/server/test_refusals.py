"""Records of refusals: nobody fills the audit trail or the journal by being refused."""

import json
import uuid

import pytest

from bench.registry import audit
from bench.registry.audit import Origin
from bench.server import refusals
from bench.server.limits import Rules
from bench.server.refusals import RefusalRoom, Room, Rooms
from tests.support.coap_packets import CON, POST, RawPeer, head
from tests.support.http_requests import PROVISION, call, wait_for_listeners
from tests.support.mqtt_packets import FAILURE, NOT_FOUND, connack, connect, request_body, success
from tests.support.operators import account, client, new_customer, new_device, new_profile, ok, refused
from tests.support.provisioning import over_http, over_mqtt
from tests.support.raw_client import RawClient
from tests.support.senders import call_from, many_addresses, post_from

ROOMS = Rooms(address=Room(5, 0.1), proven=Room(20, 1.0), unproven=Room(10, 0.5))


class Clock:
    """Seconds, when told."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def room(clock):
    return RefusalRoom(ROOMS, clock)


def sources(count, transport="http"):
    return [Origin(f"198.51.{n // 250}.{n % 250}", transport) for n in range(count)]


def test_one_address_has_its_share_and_others_have_theirs(room):
    assert [room.acquire(Origin("192.0.2.1", "http")) for _ in range(7)] == [True] * 5 + [False] * 2
    assert room.acquire(Origin("192.0.2.2", "mqtt"))


def test_all_addresses_together_have_so_much(room):
    assert sum(room.acquire(source) for source in sources(100)) == 20


def test_datagrams_leave_connections_their_room(room):
    assert sum(room.acquire(source) for source in sources(1000, "coap")) == 10
    assert sum(room.acquire(source) for source in sources(100)) == 20


def test_room_comes_back_with_time_and_no_further_than_it_was(room, clock):
    source = Origin("192.0.2.1", "http")
    assert sum(room.acquire(source) for _ in range(10)) == 5
    clock.now += 10
    assert sum(room.acquire(source) for _ in range(10)) == 1
    clock.now += 100_000
    assert sum(room.acquire(source) for _ in range(10)) == 5


def test_room_that_was_released_is_there_again(room):
    source = Origin("192.0.2.1", "http")
    for _ in range(100):
        assert room.acquire(source)
        room.release(source)
    assert sum(room.acquire(source) for _ in range(10)) == 5


def test_memory_of_addresses_is_bounded(room, monkeypatch):
    monkeypatch.setattr(refusals, "_ADDRESSES", 50)
    for source in sources(1000):
        room.acquire(source)
    assert len(room._own) == 50


# On the wire.


@pytest.fixture
def narrow(monkeypatch):
    """Room for few."""
    monkeypatch.setattr(refusals, "AUDIT", Rooms(address=Room(10, 0), proven=Room(15, 0), unproven=Room(10, 0)))
    monkeypatch.setattr(refusals, "JOURNAL", Rooms(address=Room(10, 0), proven=Room(15, 0), unproven=Room(10, 0)))


def rows(server, what=""):
    found = server.query(lambda registry: registry.read(lambda session: audit.find(session, limit=10_000, what=what)))
    return [(row.who, row.what, row.entity, row.result) for row in reversed(found)]


def metric(server, name):
    text = call(server, "/metrics", method="GET")[1].decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("refuse", ["login", "not found", "failure"])
def test_trail_and_journal_have_room_for_so_many_refusals(start_server, refuse):
    server = start_server()
    over_http(server, server.profile, success("a-token-of-its-own"), deviceName="d", token="a-token-of-its-own")
    before = len(rows(server))
    for n in range(30):
        if refuse == "login":
            assert call(server, f"/api/v1/guess-{n}/telemetry", b"{}")[0] == 401
        elif refuse == "not found":
            over_http(server, server.profile, NOT_FOUND, deviceName=f"n{n}", provisionDeviceSecret="wrong")
        else:
            over_http(server, server.profile, FAILURE, deviceName="d")
    assert len(rows(server)) == before + 10
    events = {"login": "login_refused"}.get(refuse, "exchange")
    assert len(server.events(events)) == 10 + (refuse != "login")
    assert metric(server, "firstboot_audit_refusals_skipped_total") == 20
    assert metric(server, "firstboot_journal_refusals_skipped_total") == 20
    over_http(server, server.profile, success("another-token"), deviceName="e", token="another-token")
    assert rows(server)[-1] == ("device", "provision", "e", "SUCCESS")  # what was done has a row all the same


def test_number_of_those_without_a_row_is_recorded_with_the_next(start_server, monkeypatch):
    monkeypatch.setattr(refusals, "AUDIT", Rooms(address=Room(2, 1e-9), proven=Room(20, 0), unproven=Room(1, 0)))
    server = start_server()
    for n in range(5):
        call(server, f"/api/v1/guess-{n}/telemetry", b"{}")
    server.call(lambda api: setattr(api.refusals._rows._own["127.0.0.1"], "left", 1.0))
    call(server, "/api/v1/guess-6/telemetry", b"{}")
    assert [row[1:] for row in rows(server)] == [
        ("login", "", "refused"),
        ("login", "", "refused"),
        ("refusals_skipped", "", "3 refusals"),
        ("login", "", "refused"),
    ]
    assert rows(server, "refusals_skipped") == [("server", "refusals_skipped", "", "3 refusals")]


@many_addresses
def test_forged_datagrams_make_neither_rows_nor_lines_without_end(start_server):
    server = start_server(limits=Rules())
    body = request_body(server.profile, deviceName="n", provisionDeviceSecret="wrong")
    for n in range(400):
        post_from(f"127.9.{n // 200}.{n % 200 + 1}", server, "api/v1/provision", body)
        post_from(f"127.9.{n // 200}.{n % 200 + 1}", server, "api/v1/guess/telemetry", b"{}")
    assert len(rows(server)) <= refusals.AUDIT.unproven.at_once + 100 * refusals.AUDIT.unproven.per_s
    assert len(server.events()) <= refusals.JOURNAL.unproven.at_once + 100 * refusals.JOURNAL.unproven.per_s
    assert call_from("127.9.0.1", server, PROVISION, body)[0] == 200
    assert ("n", "NOT_FOUND") in [row[2:] for row in rows(server)[-2:]]  # there is room for others


def test_malformed_datagrams_cost_no_line_each(server):
    with RawPeer(server.ports.coap) as peer:
        for _ in range(3000):
            peer.send(b"\xff")
            peer.send(head(CON, POST, 5) + b"\xb5api")
            peer.receive()
    assert len(server.events("malformed")) <= refusals.JOURNAL.unproven.at_once + 100 * refusals.JOURNAL.unproven.per_s


@pytest.mark.usefixtures("narrow")
def test_claims_of_a_device_do_not_fill_the_trail(server):
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="a", token="a-token-of-its-own")
    for _ in range(30):
        body = json.dumps({"secretKey": "a-secret-to-claim", "durationMs": 60_000}).encode()
        assert call(server, "/api/v1/a-token-of-its-own/claim", body)[0] == 200
    assert len(rows(server, "claim")) == 10


def test_limited_logins_are_in_the_trail(start_server):
    server = start_server(limits=Rules(per_caller=2))
    with client(server) as anonymous:
        wrong = {**account(server), "password": "wrong"}
        assert [anonymous.post("/api/auth/login", json=wrong).status_code for _ in range(4)] == [401, 401, 429, 429]
    who = account(server)["username"]
    found = [(who, "user.login", who, result) for result in ("refused", "refused", "limited", "limited")]
    assert rows(server, "user.login") == found


def test_logins_without_end_fill_neither(start_server, narrow):
    server = start_server(limits=Rules(per_caller=1))
    with client(server) as anonymous:
        for n in range(40):
            anonymous.post("/api/auth/login", json={"username": "one", "password": f"{n}"})
    assert len(rows(server)) == 10
    assert len(server.events()) <= 20


FORGED = {
    "access": ("GET", "/api/auth/user", None),
    "refresh": ("POST", "/api/auth/token", {"refreshToken": "a.b.c"}),
    "activation": ("POST", "/api/noauth/activate", {"activateToken": "a.b.c", "password": "a-password"}),
}


@pytest.mark.parametrize(("method", "path", "body"), FORGED.values(), ids=FORGED)
def test_forged_token_is_in_the_trail_and_is_not_quoted(server, method, path, body):
    with client(server, "forged.token.of-mine") as forger:
        refused(forger.request(method, path, json=body), 401, 10)
    assert rows(server) == [("", "user.token", f"{method} {path}", "refused")]
    assert "of-mine" not in server.journal_text


def test_request_without_a_token_has_no_row(server):
    with client(server) as anonymous:
        refused(anonymous.get("/api/auth/user"), 401, 10)
    assert rows(server) == []


@pytest.mark.usefixtures("narrow")
def test_forged_tokens_without_end_fill_neither(server):
    with client(server, "a.b.c") as forger:
        for _ in range(40):
            refused(forger.get("/api/auth/user"), 401, 10)
    assert len(rows(server)) == 10
    assert len(server.events()) <= 20


FORBIDDEN = {
    "read": ("GET", "/api/device/{device}/credentials", None),
    "of operators": ("DELETE", "/api/device/{device}", None),
    "change": ("DELETE", "/api/customer/device/{name}/claim", None),
    "write": ("POST", "/api/plugins/telemetry/{device}/SHARED_SCOPE", {"a": 1}),
    "call": ("POST", "/api/rpc/oneway/{device}", {"method": "a", "params": {}}),
    "list": ("GET", "/api/deviceProfiles?pageSize=10&page=0", None),
    "another customer": ("GET", "/api/customer/{customer}", None),
}


@pytest.mark.parametrize(("method", "path", "body"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_forbidden_is_in_the_trail(server_operator, server, method, path, body):
    device = new_device(server_operator)
    other, others = new_customer(server, server_operator)
    others.close()
    _, user = new_customer(server, server_operator)
    path = path.format(device=device["id"]["id"], name=device["name"], customer=other["id"]["id"])
    before = len(rows(server))
    with user:
        assert user.request(method, path, json=body).status_code == 403
    ((who, what, entity, result),) = rows(server)[before:]
    assert (what, entity, result) == ("user.forbidden", f"{method} {path.partition('?')[0]}", "FORBIDDEN")
    assert who.startswith("jo-")
    assert server.events("operator")[-1]["what"] == "user.forbidden"


@pytest.mark.usefixtures("narrow")
def test_what_is_forbidden_or_refused_without_end_fills_neither(server_operator, server):
    device = new_device(server_operator)
    _, user = new_customer(server, server_operator)
    before = len(rows(server))
    with user:
        for _ in range(20):
            refused(user.delete(f"/api/device/{device['id']['id']}"), 403, 20)
            refused(user.post("/api/customer/device/nobody/claim", json={}), 404, 32)
    assert len(rows(server)) == before + 10
    ok(server_operator.delete(f"/api/device/{device['id']['id']}"))
    assert rows(server)[-1][1] == "device.deleted"


def test_reading_secrets_is_in_the_trail(server_operator, server):
    device = new_device(server_operator)
    profile = new_profile(server_operator)
    before = len(rows(server))
    ok(server_operator.get(f"/api/device/{device['id']['id']}/credentials"))
    ok(server_operator.get(f"/api/deviceProfile/{profile['id']['id']}"))
    ok(server_operator.get("/api/deviceProfiles?pageSize=10&page=0&sortProperty=name&sortOrder=ASC"))
    who = account(server)["username"]
    assert rows(server)[before:] == [
        (who, "device.credentials_read", device["name"], "SUCCESS"),
        (who, "profile.credentials_read", profile["name"], "SUCCESS"),
        (who, "profile.credentials_read", f"default, {profile['name']}", "SUCCESS"),
    ]
    found = ok(server_operator.get("/api/audit/logs?pageSize=9&page=0&actionTypes=CREDENTIALS_READ"))
    assert found["totalElements"] == 3


def test_renewed_tokens_are_in_the_trail(server):
    with client(server) as anonymous:
        pair = ok(anonymous.post("/api/auth/login", json=account(server)))
        ok(anonymous.post("/api/auth/token", json={"refreshToken": pair["refreshToken"]}))
    who = account(server)["username"]
    assert [row[1:] for row in rows(server)] == [("user.login", who, "SUCCESS"), ("user.token", who, "SUCCESS")]


@pytest.mark.parametrize("path", ["rpc/oneway", "rpc/twoway", "plugins/rpc/oneway", "plugins/rpc/twoway"])
def test_call_that_a_device_does_not_get_is_in_the_trail(server_operator, server, path):
    device = new_device(server_operator)
    form = {"method": "reboot", "params": {}, "timeout": 5000}
    assert server_operator.post(f"/api/{path}/{device['id']['id']}", json=form).status_code in (409, 504)
    who = account(server)["username"]
    assert rows(server)[-1] == (who, "device.rpc_call", device["name"], "NO_ACTIVE_CONNECTION")


@pytest.mark.parametrize("path", ["rpc/oneway", "plugins/rpc/oneway"])
def test_call_that_a_device_gets_is_in_the_trail(server_operator, server, path):
    device = new_device(server_operator)
    token = ok(server_operator.get(f"/api/device/{device['id']['id']}/credentials"))["credentialsId"]
    with RawClient(server.ports.http) as board:
        board.send(f"GET /api/v1/{token}/rpc?timeout=20000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_for_listeners(server, uuid.UUID(device["id"]["id"]), 1)
        ok(server_operator.post(f"/api/{path}/{device['id']['id']}", json={"method": "reboot", "params": {}}))
        board.expect(b"HTTP/1.1 200 \r\n")
    assert rows(server)[-1] == (account(server)["username"], "device.rpc_call", device["name"], "SUCCESS")


def test_device_s_limited_logins_have_an_event_and_a_row(start_server):
    server = start_server(limits=Rules(per_caller=1))
    for code in (5, 3):
        with RawClient(server.ports.mqtt) as guesser:
            guesser.send(connect(username="guess"))
            guesser.expect(connack(code))
    assert len(server.events("limited")) == 1
    assert [row[3] for row in rows(server)] == ["refused", "limited"]
