"""The pre-provisioning hook: when it is asked, what it may do, and what counts when it does not answer."""

import base64
import importlib
import json
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.errors import BenchError, UsageError
from bench.mqtt.codec import ReasonCode
from bench.registry import audit, group_keys, profile_hooks, profiles
from bench.registry.audit import Origin
from bench.registry.chains import Chain
from bench.registry.files import PRE_PROVISION_FILE
from bench.registry.profiles import Strategy, create
from bench.registry.provision_type import Again, ProvisionType
from bench.server import gateway_api
from bench.server.hooks import pre_provision
from bench.server.hooks.pre_provision import PreProvision
from bench.server.limits import AT_ONCE, Rules
from bench.server.mqtt import later
from tests.support import certificates, gateways, operators
from tests.support.entry_points import install
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import FAILURE, TOKEN, VERSIONS, device_session, request_body
from tests.support.operators import ok
from tests.support.proofs import every_transport, prove, reference
from tests.support.provisioning import over_mqtt
from tests.support.receivers import Receiver
from tests.support.servers import PATIENCE_S, on_both_databases

pytestmark = on_both_databases
TIMEOUT_S = 0.5
V5 = VERSIONS["5"]


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


def test_question_is_signed_with_the_key_in_the_data_folder(start, hook):
    server = start()
    file = server.data / PRE_PROVISION_FILE
    secret = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    provision(server, deviceName="press-4")
    assert hook.next().is_signed_with(secret)
    server.stop()
    server.start()
    provision(server, deviceName="press-5")
    assert hook.next().is_signed_with(secret)


@pytest.mark.parametrize("key", ["", "whsec_", "whsec_AAAA", "whsec_\xff", base64.b64encode(bytes(32)).decode()])
def test_key_that_is_not_one_is_refused_at_the_start(start, tmp_path, key):
    server = start()
    server.stop()
    (server.data / PRE_PROVISION_FILE).write_text(key)
    with pytest.raises(UsageError, match="is not a key of signatures"):
        server.start()


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
        # a nonce of the millisecond in which a proof was accepted counts as replayed: no board is so fast
        proved = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == proved:
            pass
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


def test_hook_with_a_certificate_of_nobody_gets_no_question(start, tmp_path):
    made = certificates.make("localhost")
    (tmp_path / "pem").write_bytes(made.pem + made.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    with Receiver(context) as receiver:
        receiver.usual = ALLOW
        server = start(receiver.url)
        assert provision(server, deviceName="press-4") == "FAILURE"
        assert receiver.requests.empty()
    assert server.wait_for("pre_provision_failed")["result"] == "ConnectError"


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


# Of a profile.


@pytest.fixture
def own():
    with Receiver() as running:
        running.usual = ALLOW
        yield running


def give(server, receiver, profile="default", **fields):
    """Give a profile its own hook over REST, and return its secret."""
    with operators.login(server) as operator:
        found = server.query(lambda registry: registry.read(lambda session: profiles.by_name(session, profile).id))
        path = f"/api/hooks/deviceProfile/{found}"
        return ok(operator.post(path, json={"url": receiver.url, **fields}))["secret"]


def test_profiles_own_hook_decides_in_the_place_of_the_servers(start, hook, own):
    server = start()
    other = server.new_profile(ProvisionType.ALLOW_CREATE_NEW_DEVICES)
    secret = give(server, own)
    own.usual = REFUSE
    assert provision(server, deviceName="press-4") == "FAILURE"
    question = own.next()
    assert question.json["profile"] == "default"
    assert question.is_signed_with(secret)
    assert not question.is_signed_with((server.data / PRE_PROVISION_FILE).read_text().strip())
    assert hook.requests.empty()
    assert provision(server, other, deviceName="press-5") == "SUCCESS"
    assert hook.next().json["profile"] == other.name
    assert own.requests.empty()


def test_profile_has_a_hook_where_the_server_has_none(start_server, own):
    server = start_server()
    other = server.new_profile(ProvisionType.ALLOW_CREATE_NEW_DEVICES)
    give(server, own)
    assert provision(server, other, deviceName="press-4") == "SUCCESS"
    assert own.requests.empty()
    own.usual = REFUSE
    assert provision(server, deviceName="press-5") == "FAILURE"
    assert results(server)[-1] == ("press-5", pre_provision.REFUSED)
    with operators.login(server) as operator:
        path = f"/api/hooks/deviceProfile/{server.query(lambda r: r.read(lambda s: profiles.default(s).id))}"
        assert ok(operator.get(path)) == {"url": own.url, "timeout": 2.0, "default": "refuse"}
        ok(operator.delete(path))
        assert ok(operator.get(path))["url"] is None
    assert provision(server, deviceName="press-5") == "SUCCESS"


def test_profiles_own_default_counts_when_its_hook_is_gone(start, own):
    server = start(allows=False)
    give(server, own, default="allow", timeout=0.5)
    own.usual = lambda _: time.sleep(4 * TIMEOUT_S) or REFUSE
    assert provision(server, deviceName="press-4") == "SUCCESS"
    own.__exit__()
    assert provision(server, deviceName="press-5") == "SUCCESS"
    give(server, own)
    assert provision(server, deviceName="press-6") == "FAILURE"
    assert results(server)[-1] == ("press-6", "pre-provisioning hook: ConnectError")


def test_profiles_hook_is_as_secret_as_a_webhook(start_server, own):
    server = start_server()
    secret = give(server, own)
    held = b"".join(file.read_bytes() for file in server.data.glob("registry*")) if not server.options.database else b""
    assert not [text for text in (secret, own.url) if text.encode() in held]
    row = server.query(lambda r: r.read(lambda s: profiles.default(s).sealed_hook))
    assert secret.encode() not in row

    def plant(session):  # somebody who can write to the database, and has no key
        profiles.default(session).sealed_hook = bytes(64)

    server.query(lambda registry: registry.write(plant))
    assert provision(server, deviceName="press-4") == "FAILURE"


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"url": "ftp://x/"},
        {"url": "https://me:pw@x/"},
        {"url": "https://x/", "timeout": 0},
        {"url": "https://x/", "timeout": 31},
        {"url": "https://x/", "default": "maybe"},
    ],
)
def test_profiles_hook_that_cannot_be_is_refused(start_server, form):
    server = start_server()
    with operators.login(server) as operator:
        path = f"/api/hooks/deviceProfile/{server.query(lambda r: r.read(lambda s: profiles.default(s).id))}"
        assert operator.post(path, json=form).status_code in (400, 500)
        assert ok(operator.get(path))["url"] is None


def test_number_of_profiles_with_hooks_is_bounded(start_server, own, monkeypatch):
    monkeypatch.setattr(profile_hooks, "MOST", 1)
    server = start_server()
    give(server, own)
    give(server, own)  # another for the same profile
    other = server.new_profile(ProvisionType.ALLOW_CREATE_NEW_DEVICES)
    with pytest.raises(AssertionError, match="1 profiles have a hook"):
        give(server, own, other.name)


# Of devices behind gateways.


@pytest.fixture
def behind(start, hook):
    """A server with a hook, and a gateway's session there."""
    server = start()
    gateways.new_gateway(server, TOKEN)
    with device_session(server, V5) as client:
        yield server, client


def test_device_behind_a_gateway_is_made_once_it_is_allowed(behind, hook):
    server, client = behind
    gateways.send(client, V5, gateways.CONNECT, {"device": "press-4", "type": "press"})
    where = {"transport": "mqtt", "address": "127.0.0.1", "gateway": TOKEN}
    assert hook.next().json == {"profile": "press", "deviceName": "press-4", **where}
    assert gateways.find(server, "press-4") is not None
    gateways.send(client, V5, gateways.TELEMETRY, {"press-4": [{"t": 1}]})
    gateways.send(client, V5, gateways.DISCONNECT, {"device": "press-4"})
    gateways.send(client, V5, gateways.CONNECT, {"device": "press-4"})  # it is there: nothing to ask
    assert hook.requests.empty()


def test_device_behind_a_gateway_is_refused_and_stays_so_for_a_while(behind, hook, monkeypatch):
    server, client = behind
    hook.usual = REFUSE
    for packet_id in (1, 2):
        body = {"press-4": [{"t": 1}]}
        gateways.send(client, V5, gateways.TELEMETRY, body, packet_id=packet_id, reason=ReasonCode.UNSPECIFIED)
    assert hook.requests.qsize() == 1
    assert gateways.find(server, "press-4") is None
    assert results(server) == [("press-4", pre_provision.REFUSED)]
    assert server.wait_for("sub_device_refused")["why"] == pre_provision.REFUSED
    hook.usual = ALLOW
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + gateway_api.REFUSED_S)
    gateways.send(client, V5, gateways.TELEMETRY, {"press-4": [{"t": 1}]})


def test_profiles_own_hook_decides_about_devices_behind_gateways(start_server, own):
    server = start_server()
    gateways.new_gateway(server, TOKEN)
    give(server, own)
    own.usual = REFUSE
    with device_session(server, V5) as client:
        gateways.send(client, V5, gateways.CONNECT, {"device": "free", "type": "other"})
        refused = {"reason": ReasonCode.UNSPECIFIED}
        gateways.send(client, V5, gateways.ATTRIBUTES, {"press-4": {"a": 1}}, **refused)
    assert own.next().json["deviceName"] == "press-4"
    assert gateways.find(server, "free") is not None


def test_slow_hook_holds_up_no_other_device_of_its_gateway(behind, hook):
    """And what came for the device meanwhile is stored in its order, once it is allowed."""
    server, client = behind
    gateways.send(client, V5, gateways.CONNECT, {"device": "press-4"})
    release = threading.Event()
    hook.usual = lambda _: release.wait(PATIENCE_S) and ALLOW
    for number in range(10):
        body = json.dumps({"slow": {"a": number, f"a{number}": 1}}).encode()
        client.send(V5.publish(gateways.ATTRIBUTES, body, qos=1, packet_id=10 + number))
    gateways.send(client, V5, gateways.TELEMETRY, {"press-4": [{"t": 1}]}, packet_id=30)
    assert gateways.find(server, "slow") is None
    release.set()
    client.expect(b"".join(V5.puback(10 + number) for number in range(10)))
    assert hook.requests.qsize() == 2  # press-4 and slow, once each
    found = server.query(lambda registry: registry.device("slow")).attributes["CLIENT_SCOPE"]
    assert found == {"a": 9, **{f"a{number}": 1 for number in range(10)}}


def test_gateway_waits_once_as_much_as_may_waits_for_its_hook(behind, hook, monkeypatch):
    _, client = behind
    monkeypatch.setattr(later, "MESSAGES", 2)
    release = threading.Event()
    hook.usual = lambda _: release.wait(PATIENCE_S) and ALLOW
    for number in range(6):
        client.send(V5.publish(gateways.CONNECT, b'{"device": "slow-%d"}' % number, qos=1, packet_id=1 + number))
    names = {hook.next().json["deviceName"] for _ in range(3)}
    assert names == {"slow-0", "slow-1", "slow-2"}
    release.set()
    acknowledged = {client.read(len(V5.puback(1))) for _ in range(6)}
    assert acknowledged == {V5.puback(1 + number) for number in range(6)}


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
