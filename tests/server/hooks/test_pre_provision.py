"""The pre-provisioning hook: when it is asked, what it may do, and what counts when it does not answer."""

import importlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.errors import BenchError, UsageError
from bench.registry import audit, group_keys, profiles
from bench.registry.audit import Origin
from bench.registry.chains import Chain
from bench.registry.profiles import Strategy, create
from bench.registry.provision_type import Again, ProvisionType
from bench.server.hooks import pre_provision
from bench.server.hooks.pre_provision import PreProvision
from bench.server.limits import AT_ONCE, Rules
from tests.support import operators
from tests.support.entry_points import install
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import FAILURE, request_body
from tests.support.operators import ok
from tests.support.proofs import every_transport, prove, reference
from tests.support.provisioning import over_mqtt
from tests.support.receivers import Receiver
from tests.support.servers import PATIENCE_S, on_both_databases

pytestmark = on_both_databases
TIMEOUT_S = 0.5


def answer(body, status="200 OK"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


ALLOW, REFUSE = answer({"allowProvisioning": True}), answer({"allowProvisioning": False})


@pytest.fixture
def hook():
    with Receiver() as running:
        running.usual = ALLOW
        yield running


@pytest.fixture
def start(start_server, hook):
    """Start a server with a hook: the URL, unless another is named."""

    def start(name="", *, allows=False, timeout_s=PATIENCE_S, **options):
        chosen = PreProvision(hook=name or hook.url, timeout_s=timeout_s, allows_by_default=allows)
        return start_server(pre_provision=chosen, **options)

    return start


def provision(server, profile=None, **fields):
    return json.loads(call(server, PROVISION, request_body(profile or server.profile, **fields))[1])["status"]


def results(server):
    """The results of provisioning in the audit trail, oldest first."""
    rows = server.query(
        lambda registry: registry.read(lambda session: audit.find(session, limit=100, what="provision"))
    )
    return [(row.entity, row.result) for row in reversed(rows)]


def test_device_is_made_that_is_allowed_and_no_secret_is_sent(start, hook):
    server = start()
    assert provision(server, deviceName="press-4", token="a-token-of-its-own") == "SUCCESS"
    where = {"profile": "default", "transport": "http", "address": "127.0.0.1"}
    assert hook.next().json == {"deviceName": "press-4", **where}
    assert provision(server) == "SUCCESS"  # a name that the server makes
    assert hook.next().json["deviceName"] in server.device_names()
    assert [result for _, result in results(server)] == ["SUCCESS", "SUCCESS"]


def test_device_is_refused_with_failure_and_a_reason_for_those_who_may_know(start, hook):
    server = start()
    hook.usual = REFUSE
    with operators.login(server) as operator, Receiver() as receiver:
        ok(operator.post("/api/hooks", json={"url": receiver.url, "events": ["refused", "created"]}))
        over_mqtt(server, server.profile, FAILURE, deviceName="press-4")
        event = receiver.next().json
    assert (event["event"], event["reason"], event["transport"]) == ("refused", pre_provision.REFUSED, "mqtt")
    assert results(server) == [("press-4", pre_provision.REFUSED)]
    assert server.device_names() == []
    hook.usual = ALLOW
    assert provision(server, deviceName="press-4") == "SUCCESS"


def test_credentials_are_handed_over_once_it_is_allowed(start, hook):
    server = start()
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("press-4", profile.name))
    hook.usual = REFUSE
    assert provision(server, profile, deviceName="press-4") == "FAILURE"
    hook.usual = ALLOW
    assert provision(server, profile, deviceName="press-4") == "SUCCESS"
    assert provision(server, profile, deviceName="press-4") == "FAILURE"  # as without a hook: it has them
    assert hook.requests.qsize() == 2


def test_stranger_does_not_reach_the_hook(start, hook):
    server = start()
    assert provision(server, deviceName="press-4", provisionDeviceSecret="wrong") == "NOT_FOUND"
    assert provision(server, deviceName="press-4", provisionDeviceKey="unknown") == "NOT_FOUND"
    assert hook.requests.empty()
    assert provision(server, deviceName="press-4") == "SUCCESS"
    assert provision(server, deviceName="press-4") == "FAILURE"  # the name is taken
    assert hook.requests.qsize() == 1


def test_device_that_was_made_meanwhile_is_not_made_twice(start, hook):
    server = start()
    make = lambda _: server.query(lambda registry: registry.create_device("press-4", "default")) and ALLOW  # noqa: E731
    hook.answers.put(make)
    assert provision(server, deviceName="press-4") == "FAILURE"
    assert server.device_names() == ["press-4"]


def test_chain_needs_approval_when_it_makes_or_renews_a_device(start, hook):
    server = start()
    strategy = Strategy(
        type=ProvisionType.X509_CERTIFICATE_CHAIN,
        secret="-----BEGIN CERTIFICATE-----\nROOT\n-----END CERTIFICATE-----\n",
        certificate_pattern=r"(.*)\.company.com",
        allow_create=True,
    )
    server.query(lambda registry: registry.write(create, "mine", strategy))

    def show(leaf):
        shown = Chain(certificates=(leaf, "ROOT"), common_name="press-4.company.com")
        server.call(lambda api: api.provision_chain(shown, Origin("192.0.2.7", "mqtts")))
        return server.query(lambda registry: registry.certificate_login(leaf)) is not None

    hook.usual = REFUSE
    assert not show("LEAF")
    assert hook.next().json == {
        "profile": "mine",
        "deviceName": "press-4",
        "transport": "mqtts",
        "address": "192.0.2.7",
    }
    hook.usual = ALLOW
    assert show("LEAF")
    assert show("LEAF")  # it is there: nothing to ask
    hook.usual = REFUSE
    assert not show("NEW-LEAF")
    hook.usual = ALLOW
    assert show("NEW-LEAF")
    assert hook.requests.qsize() == 3
    assert [result for _, result in results(server)] == [
        pre_provision.REFUSED,
        "SUCCESS",
        pre_provision.REFUSED,
        "SUCCESS",
    ]


@every_transport
def test_wiped_device_gets_its_device_back_once_it_is_allowed(start, hook, send):
    server = start()

    def let(session):
        profile = profiles.by_name(session, "default")
        key = group_keys.replace(session, profile)
        group_keys.set_again(profile, Again.KEEP)
        return key

    secret = reference(server.query(lambda registry: registry.write(let)), "press-4")
    for usual, token, status in (
        (REFUSE, "first-token", b'"FAILURE"'),
        (ALLOW, "first-token", b'"SUCCESS"'),
        (REFUSE, "second-token", b'"FAILURE"'),
        (ALLOW, "second-token", b'"SUCCESS"'),
    ):
        hook.usual = usual
        assert status in prove(server, send, secret, deviceName="press-4", token=token)[1]
        assert hook.next().json["deviceName"] == "press-4"
    assert hook.requests.empty()
    assert server.query(lambda registry: registry.token_login("first-token")) is None
    assert server.query(lambda registry: registry.token_login("second-token")) is not None


# A hook that does not answer.


@pytest.mark.parametrize(("allows", "status"), [(False, "FAILURE"), (True, "SUCCESS")])
@pytest.mark.parametrize(
    ("usual", "result"),
    [
        (lambda _: time.sleep(4 * TIMEOUT_S) or ALLOW, "no answer in time"),
        (answer({"allowProvisioning": True}, "500 Broken"), "status 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (answer(b"garbage"), "an answer without allowProvisioning"),
        (answer({"allowProvisioning": "true"}), "an answer without allowProvisioning"),
        (answer([True]), "an answer without allowProvisioning"),
        (answer(b"[" * pre_provision.ANSWER_LIMIT), "an answer without allowProvisioning"),
        (answer(b" " * pre_provision.ANSWER_LIMIT + b"{}"), "TooLong"),
        (b"garbage\r\n\r\n", "RemoteProtocolError"),
    ],
)
def test_default_counts_when_there_is_no_answer(start, hook, usual, result, allows, status):
    in_time = result != "no answer in time"
    server = start(allows=allows, timeout_s=PATIENCE_S if in_time else TIMEOUT_S)
    hook.usual = usual
    assert provision(server, deviceName="press-4") == status
    logged = server.wait_for("pre_provision_failed")
    assert (logged["result"], logged["default"]) == (result, "allow" if allows else "refuse")
    assert results(server) == [("press-4", "SUCCESS" if allows else f"pre-provisioning hook: {result}")]


def test_hook_that_is_down_refuses(start):
    server = start("http://127.0.0.1:1/")
    assert provision(server, deviceName="press-4") == "FAILURE"
    assert server.wait_for("pre_provision_failed")["result"] == "ConnectError"


def test_slow_hook_slows_nobody_else(start, hook):
    server = start(limits=Rules())  # as others have it: so many at once of one address
    waits, release = [], threading.Event()

    def slow_for_some(request):
        if request.json["deviceName"].startswith("slow"):
            waits.append(request)
            release.wait(PATIENCE_S)
        return ALLOW

    hook.usual = slow_for_some
    with ThreadPoolExecutor(40) as threads:
        slow = [threads.submit(provision, server, deviceName=f"slow-{number}") for number in range(40)]
        while len(waits) <= AT_ONCE:
            time.sleep(0.01)
        for number in range(20):
            assert provision(server, deviceName=f"press-{number}") == "SUCCESS"
        assert [each.result() for each in slow if each.done()] == []
        release.set()
        assert {each.result() for each in slow} == {"SUCCESS"}


# A hook in Python.

SOURCE = """
    import threading
    got, released = [], threading.Event()

    def decide(question):
        got.append(question)
        match question["deviceName"]:
            case "press-4":
                return True
            case "hang":
                released.wait()
            case "fail":
                raise ZeroDivisionError
            case "none":
                return None
        return False
"""


@pytest.fixture
def function(tmp_path, monkeypatch):
    (folder := tmp_path / "pre-site").mkdir()
    name = install(folder, monkeypatch, pre_provision.GROUP, SOURCE, "decide", "missing")
    return importlib.import_module(name)


def test_function_decides(start, function):
    server = start("decide")
    assert provision(server, deviceName="press-4") == "SUCCESS"
    where = {"profile": "default", "transport": "http", "address": "127.0.0.1"}
    assert function.got == [{"deviceName": "press-4", **where}]
    for name, result in (
        ("press-5", pre_provision.REFUSED),
        ("fail", "pre-provisioning hook: ZeroDivisionError"),
        ("none", "pre-provisioning hook: an answer that is not a bool"),
    ):
        assert provision(server, deviceName=name) == "FAILURE"
        assert results(server)[-1] == (name, result)


def test_function_that_hangs_leaves_the_default(start, function, monkeypatch):
    monkeypatch.setattr(pre_provision, "THREADS", 1)
    server = start("decide", timeout_s=TIMEOUT_S)
    for name in ("hang", "press-4"):  # there is one thread, and it hangs
        assert provision(server, deviceName=name) == "FAILURE"
        assert results(server)[-1] == (name, "pre-provisioning hook: no answer in time")
    function.released.set()
    assert provision(server, deviceName="press-4") == "SUCCESS"


@pytest.mark.parametrize("name", ["unknown", "missing", "ftp://x/", "https://me:pw@x/"])
def test_hook_that_is_not_one_is_refused_at_the_start(start, function, name):
    with pytest.raises(BenchError) as refused:
        start(name)
    assert isinstance(refused.value, UsageError)
    assert "pw" not in str(refused.value)
