"""Webhooks: what they are sent, signed how, and what becomes of what a receiver does not take."""

import json
import threading
import time
import uuid

import pytest
from sqlalchemy import func, insert, select, update

from bench.registry import audit, devices, profiles
from bench.registry import webhooks as stored
from bench.registry.audit import Subject
from bench.registry.event_kinds import HookEvent
from bench.registry.model import Audit, Webhook, WebhookDelivery
from bench.server.hooks import webhooks
from tests.support import operators
from tests.support.at_rest import everything, holding, on_database
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import request_body
from tests.support.operators import ok
from tests.support.receivers import Receiver
from tests.support.server_process import Serving
from tests.support.servers import PATIENCE_S, on_both_databases

pytestmark = on_both_databases
PAUSES_S = (0.05, 0.05)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(webhooks, "PAUSES_S", PAUSES_S)
    monkeypatch.setattr(webhooks, "_LOOK_S", 0.05)


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


@pytest.fixture
def operator(server):
    with operators.login(server) as client:
        yield client


def add(operator, receiver, *events):
    return ok(operator.post("/api/hooks", json={"url": receiver.url, "events": events or list(HookEvent)}))


def provision(server, name="press-4", profile=None, **fields):
    status, body, _ = call(server, PROVISION, request_body(profile or server.profile, deviceName=name, **fields))
    assert status == 200
    return json.loads(body)["status"]


def until(found, wanted):
    """Wait until a question has this answer."""
    deadline = time.monotonic() + PATIENCE_S
    while (last := found()) != wanted:
        assert time.monotonic() < deadline, last
        time.sleep(0.01)


def counts(operator):
    (hook,) = ok(operator.get("/api/hooks"))
    return hook["waiting"], hook["dead"]


# What is sent.


def test_life_of_a_device_is_sent_event_by_event(server, operator, receiver):
    hook = add(operator, receiver)
    assert provision(server, "press-4") == "SUCCESS"
    device = ok(operator.get("/api/tenant/devices?deviceName=press-4"))["id"]["id"]
    customer = ok(operator.post("/api/customer", json={"title": "Acme"}))["id"]["id"]
    form = operators.new_credentials(operator, {"id": {"id": device}}, credentialsId="another-token")
    ok(operator.post("/api/device/credentials", json=form))
    ok(operator.post(f"/api/customer/{customer}/device/{device}"))
    ok(operator.post(f"/api/lifecycle/device/{device}/deactivate"))
    ok(operator.post(f"/api/lifecycle/device/{device}/decommission"))
    ok(operator.delete(f"/api/device/{device}"))
    assert provision(server, "press-5", provisionDeviceSecret="wrong") == "NOT_FOUND"
    requests = [receiver.next() for _ in range(8)]
    by_event = {each.json["event"]: each.json for each in requests}
    assert set(by_event) == {each.value for each in HookEvent if not each.startswith("rollout_")}
    for each in requests:
        assert each.is_signed_with(hook["secret"])
        assert abs(int(each.headers["webhook-timestamp"]) - time.time()) < 60
    assert len({each.headers["webhook-id"] for each in requests}) == 8
    for event in set(by_event) - {"refused"}:
        found, profile = by_event[event]["device"], None if event == "deleted" else "default"
        assert (found["id"], found["name"], found["profile"]) == (device, "press-4", profile)
    assert by_event["associated"]["device"]["customerId"] == customer
    assert (by_event["provisioned"]["by"], by_event["rotated"]["by"]) == (
        "device",
        operators.account(server)["username"],
    )
    refused = by_event["refused"]
    assert (refused["device"]["name"], refused["reason"], refused["transport"]) == ("press-5", "NOT_FOUND", "http")
    until(lambda: counts(operator), (0, 0))


def test_only_what_is_wanted_is_sent(server, operator, receiver):
    add(operator, receiver, "refused")
    assert provision(server) == "SUCCESS"
    assert provision(server) == "FAILURE"
    assert receiver.next().json["event"] == "refused"
    until(lambda: counts(operator), (0, 0))
    assert receiver.requests.empty()


def test_nothing_is_stored_without_webhooks_or_of_a_removed_one(server, operator, receiver):
    hook = add(operator, receiver, "provisioned")
    ok(operator.delete(f"/api/hooks/{hook['id']}"))
    assert ok(operator.get("/api/hooks")) == []
    assert provision(server) == "SUCCESS"
    assert server.query(lambda registry: registry.read(_number)) == 0
    assert receiver.requests.empty()


def test_test_is_signed_and_answered_with_what_came_of_it(operator, receiver):
    hook = add(operator, receiver)
    assert ok(operator.post(f"/api/hooks/{hook['id']}/test")) == {"received": True, "result": ""}
    sent = receiver.next()
    assert sent.json["event"] == "ping"
    assert sent.is_signed_with(hook["secret"])
    receiver.usual = 500
    assert ok(operator.post(f"/api/hooks/{hook['id']}/test")) == {"received": False, "result": "status 500"}


# Receivers that do not take it.


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (500, "status 500"),
        (b"this is not HTTP\r\n\r\n", "RemoteProtocolError"),
        (b"", "RemoteProtocolError"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "status 302"),
    ],
)
def test_event_that_is_never_received_is_a_dead_letter_and_can_be_replayed(server, operator, receiver, answer, result):
    hook = add(operator, receiver, "provisioned")
    receiver.usual = answer
    provision(server)
    server.wait_for("webhook_dead", hook=hook["id"], result=result)
    tries = [receiver.next() for _ in range(1 + len(PAUSES_S))]
    assert len({(each.headers["webhook-id"], each.body) for each in tries}) == 1
    assert receiver.requests.empty()
    (letter,) = ok(operator.get("/api/hooks/dead"))
    assert (letter["hookId"], letter["tries"], letter["result"]) == (hook["id"], len(tries), result)
    receiver.usual = 204
    assert ok(operator.post(f"/api/hooks/dead/{letter['id']}/replay")) == {"replayed": 1}
    again = receiver.next()
    assert (again.headers["webhook-id"], again.body) == (letter["id"], tries[0].body)
    until(lambda: counts(operator), (0, 0))
    operators.refused(operator.post(f"/api/hooks/dead/{letter['id']}/replay"), 404, 32)


def test_event_is_sent_again_until_it_is_received(server, operator, receiver):
    add(operator, receiver, "provisioned")
    for each in (503, 429):
        receiver.answers.put(each)
    provision(server)
    assert len({receiver.next().headers["webhook-id"] for _ in range(3)}) == 1
    until(lambda: counts(operator), (0, 0))


def test_receiver_that_is_slow_or_down_slows_no_other_and_no_device(server, operator, receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 3 * PATIENCE_S)  # who waited for the slow one would get nothing in time
    released = threading.Event()
    with Receiver() as slow, Receiver() as down:
        add(operator, slow, "provisioned")
        add(operator, down, "provisioned")
        down._server.server_close()
        slow.usual = lambda _: released.wait() and None
        add(operator, receiver, "provisioned")
        try:
            for number in range(20):
                assert provision(server, f"press-{number}") == "SUCCESS"
                receiver.next()
            assert server.wait_for("webhook_dead")["result"] == "ConnectError"
        finally:
            released.set()


def test_receiver_that_does_not_answer_in_time_is_given_up(server, operator, monkeypatch):
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.2)
    released = threading.Event()
    with Receiver() as slow:
        add(operator, slow, "provisioned")
        slow.usual = lambda _: released.wait() and None
        provision(server)
        try:
            server.wait_for("webhook_dead", result="TimeoutError")
        finally:
            released.set()


def test_receiver_that_is_gone_is_disabled_until_it_is_enabled(server, operator, receiver):
    hook = add(operator, receiver, "provisioned")
    receiver.usual = 410
    provision(server, "press-1")
    server.wait_for("webhook_disabled", hook=hook["id"])
    until(lambda: counts(operator), (0, 1))
    provision(server, "press-2")
    assert not ok(operator.get("/api/hooks"))[0]["enabled"]
    assert counts(operator) == (0, 1)
    (letter,) = ok(operator.get("/api/hooks/dead"))
    operators.refused(operator.post(f"/api/hooks/dead/{letter['id']}/replay"), 400, 31)
    assert ok(operator.post("/api/hooks/dead/replay")) == {"replayed": 0}
    receiver.usual = 204
    ok(operator.post(f"/api/hooks/{hook['id']}/enable"))
    assert ok(operator.post("/api/hooks/dead/replay")) == {"replayed": 1}
    assert [receiver.next().json["device"]["name"] for _ in range(2)] == ["press-1", "press-1"]
    until(lambda: counts(operator), (0, 0))


# Bounds and refusals.


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x/", "https://", "https://me:pw@x/", "https://x/#f", "http://x:0/", "http://x:y/", "http://ü/", "/api"],
)
def test_url_is_refused(operator, url):
    operators.refused(operator.post("/api/hooks", json={"url": url, "events": ["created"]}), 400, 31)


def test_event_is_refused_that_is_not_one(operator, receiver):
    for events in ([], ["ping"], ["created"] * (len(HookEvent) + 1)):
        answer = operator.post("/api/hooks", json={"url": receiver.url, "events": events})
        operators.refused(answer, 500, 2)  # as for any body that does not fit


def test_there_are_so_many_webhooks_and_no_more(operator, receiver):
    for _ in range(stored.MOST):
        add(operator, receiver, "deleted")
    answer = operator.post("/api/hooks", json={"url": receiver.url, "events": ["created"]})
    assert "remove one" in operators.refused(answer, 400, 31)


def test_oldest_is_dropped_beyond_the_bound(server, operator, receiver, monkeypatch):
    monkeypatch.setattr(stored, "WAITING", 3)
    hook = add(operator, receiver, "provisioned")

    def fill(session):
        row = {"webhook_id": uuid.UUID(hook["id"]), "event": "created", "body": "{}", "created_ms": 1, "due_ms": 1}
        rows = [{**row, "id": uuid.uuid4(), "tries": 3, "is_dead": True, "problem": str(n)} for n in range(10)]
        session.execute(insert(WebhookDelivery), rows)

    server.query(lambda registry: registry.write(fill))
    assert server.query(lambda registry: registry.write(stored.trim)) == 7
    assert [each["result"] for each in ok(operator.get("/api/hooks/dead"))] == ["9", "8", "7"]
    assert not server.query(lambda registry: registry.read(stored.has_excess))


def test_event_of_a_webhook_that_is_gone_is_deleted(server, operator, receiver):
    hook = add(operator, receiver, "provisioned")
    remove = lambda session: session.delete(session.get(Webhook, uuid.UUID(hook["id"])))  # noqa: E731
    server.query(lambda registry: registry.write(remove))  # as another server, which was not heard yet
    assert provision(server) == "SUCCESS"
    server.query(lambda registry: registry.write(stored.trim))  # unless the server was faster
    assert server.query(lambda registry: registry.read(_number)) == 0


def test_customers_and_operators_with_a_role_have_no_webhooks(server, operator, receiver):
    add(operator, receiver)
    _, user = operators.new_customers_user(server, operator)
    others = [user, operators.new_operator(server, "read-only"), operators.new_operator(server, "line")]
    for each in others:
        with each:
            for path in ("/api/hooks", "/api/hooks/dead"):
                operators.refused(each.get(path), 403, 20)
            operators.refused(each.post("/api/hooks", json={"url": receiver.url, "events": ["created"]}), 403, 20)


# What must not be lost, or seen.


def test_event_of_a_transaction_that_was_rolled_back_is_not_sent(server, operator, receiver):
    add(operator, receiver, "created")

    def fail(session):
        made = devices.create(session, "rolled-back", profiles.by_name(session, "default"))
        row = audit.entry(audit.UNKNOWN_ORIGIN, what="device.added", entity=Subject.of(made), result=audit.SUCCESS)
        audit.record(session.connection(), [row])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        server.query(lambda registry: registry.write(fail))
    ok(operator.post("/api/device", json={"name": "kept"}))
    assert receiver.next().json["device"]["name"] == "kept"
    assert receiver.requests.empty()


def test_server_that_died_before_it_sent_sends_after_its_start(tmp_path, database, receiver):
    options = ["--database", database] if database else []
    closed = f"http://127.0.0.1:{receiver.port}/"
    with Serving(tmp_path / "data", tmp_path / "output", *options) as server:
        server_like = _Like(tmp_path / "data", server.ready)
        with operators.login(server_like) as operator:
            hook = ok(operator.post("/api/hooks", json={"url": closed, "events": ["created", "provisioned"]}))
            profile = ok(operator.get("/api/deviceProfiles?pageSize=10&page=0"))["data"][0]
            profile = ok(operator.get(f"/api/deviceProfile/{profile['id']['id']}"))
        receiver.usual = lambda _: server.kill()  # at its first try
        configuration = profile["profileData"]["provisionConfiguration"]
        body = {
            "deviceName": "press-4",
            "provisionDeviceKey": profile["provisionDeviceKey"],
            "provisionDeviceSecret": configuration["provisionDeviceSecret"],
        }
        assert json.loads(call(server_like, PROVISION, json.dumps(body))[1])["status"] == "SUCCESS"
        first = receiver.next()
    receiver.usual = 204
    with Serving(tmp_path / "data", tmp_path / "output", *options) as server:
        _expire_leases(tmp_path / "data", database)
        wanted = {"created", "provisioned"}
        while wanted:
            request = receiver.next()
            assert request.is_signed_with(hook["secret"])
            wanted.discard(request.json["event"])
        assert first.json["device"]["name"] == request.json["device"]["name"] == "press-4"


def _number(session):
    return session.scalar(select(func.count()).select_from(WebhookDelivery))


class _Like:
    """As much of a `RunningServer` as helpers need."""

    def __init__(self, data, ready):
        self.data = data
        self.ports = type("Ports", (), {"http": ready["http_port"]})


def _expire_leases(folder, database):
    on_database(folder, database, lambda connection: connection.execute(update(WebhookDelivery).values(due_ms=1)))


def test_no_secret_is_sent_logged_or_stored_in_plain(server, operator, receiver, tmp_path, database):
    hook = add(operator, receiver)
    token = "a-token-that-nobody-sees"
    assert provision(server, token=token, credentialsType="ACCESS_TOKEN") == "SUCCESS"
    receiver.usual = 500
    provision(server)
    server.wait_for("webhook_dead")
    secrets = [token, hook["secret"], "a-secret-of-the-receiver", server.profile.provision_secret]
    listed = operator.get("/api/hooks").text
    assert hook["secret"] not in listed
    bodies = b"".join(receiver.requests.get().body for _ in range(receiver.requests.qsize()))
    trail = server.query(lambda registry: registry.read(lambda session: str(session.execute(select(Audit)).all())))
    at_rest = everything(server.data, database)
    for each in secrets:
        assert each not in server.journal_text
        assert each.encode() not in bodies
        assert each not in trail
    assert holding(at_rest, secrets) == []


@pytest.mark.slow
def test_servers_on_one_database_share_the_work_and_send_each_event_once(start_server, cluster, receiver):
    url = cluster.database()
    first = start_server("first", database=url)
    (first.data.parent / "second").mkdir(mode=0o700)
    for name in ("secrets.key", "operator.json"):
        if (first.data / name).exists():
            target = first.data.parent / "second" / name
            target.write_bytes((first.data / name).read_bytes())
            target.chmod(0o600)
    second = start_server("second", database=url)
    with operators.login(first) as operator:
        add(operator, receiver, "provisioned")
        wanted = lambda: bool(second.registry.feed.wanted)  # noqa: E731
        until(wanted, True)
        for number in range(40):
            server = (first, second)[number % 2]
            assert provision(server, f"press-{number}", first.profile) == "SUCCESS"
        until(lambda: counts(operator), (0, 0))
    names = [receiver.next().json["device"]["name"] for _ in range(40)]
    assert sorted(names) == sorted(f"press-{number}" for number in range(40))
    assert receiver.requests.empty()
