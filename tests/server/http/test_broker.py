"""Brokers' questions: who may query, whom they are told to let in, and what a device may do there."""

import base64
import json
from itertools import product
from urllib.parse import quote

import pytest
from sqlalchemy.orm import object_session

from bench.contract import templates as contract
from bench.registry import audit, broker_keys, devices, lifecycle, profiles, templates
from bench.registry.provision_type import ProvisionType
from bench.server.http.broker import questions
from bench.server.limits import Rules
from tests.support.brokers import BROKER, FORM, JSON, add_device, basic, delete_device, key, query
from tests.support.http_requests import call

DENIED = {
    "auth/": (200, b'{"result":"deny"}'),
    "acl/": (200, b'{"result":"deny"}'),
    **dict.fromkeys([f"rabbitmq/{each}" for each in ("user", "vhost", "resource", "topic")], (200, b"deny")),
    **dict.fromkeys(
        [f"mosquitto/{each}" for each in ("user", "superuser", "acl")], (403, b'{"ok":false,"error":"denied"}')
    ),
}
NAME, PASSWORD, TOKEN = "press-4", "the-password", "token-of-lathe-1"
AMQP = {"vhost": "/", "client_id": NAME}
EXCHANGE = {"resource": "topic", "name": "amq.topic", "vhost": "/", "variable_map.client_id": NAME}
# A question of each path that is answered with yes.
RIGHT = {
    "auth/": (JSON, {"username": NAME, "password": PASSWORD}),
    "acl/": (JSON, {"username": NAME, "topic": f"iot/default/{NAME}/data", "action": "pub"}),
    "rabbitmq/user": (FORM, {"username": NAME, "password": PASSWORD, **AMQP}),
    "rabbitmq/vhost": (FORM, {"username": NAME, "ip": "10.0.0.7", **AMQP}),
    "rabbitmq/resource": (
        FORM,
        {"username": NAME, "resource": "exchange", "name": "amq.topic", "permission": "write", **AMQP},
    ),
    "rabbitmq/topic": (
        FORM,
        {"username": NAME, "permission": "write", "routing_key": f"iot.default.{NAME}.data", **EXCHANGE},
    ),
    "mosquitto/user": (JSON, {"username": NAME, "password": PASSWORD, "clientid": NAME}),
    "mosquitto/acl": (
        FORM,
        {"username": NAME, "clientid": NAME, "topic": f"iot/default/{NAME}/status", "acc": 2},
    ),
}
ALLOWED = {
    **dict.fromkeys(("auth/", "acl/"), (200, b'{"result":"allow"}')),
    **{each: (200, b"allow") for each in RIGHT if each.startswith("rabbitmq")},
    **{each: (200, b'{"ok":true,"error":""}') for each in RIGHT if each.startswith("mosquitto")},
}


@pytest.fixture(scope="module")
def as_broker(shared_server):
    """Return a function that asks a server with devices as a broker with a key does."""
    add_device(shared_server, NAME, client_id=NAME, username=NAME, password=PASSWORD)
    add_device(shared_server, "lathe-1", token=TOKEN)
    headers = basic(BROKER, key(shared_server))

    def as_broker(path, body, kind=FORM, **more):
        return query(shared_server, path, body, {**headers, **more}, kind)

    return as_broker


def allows(as_broker, action, topic, *, username=NAME, client_id=NAME):
    """Ask all three brokers' questions about a topic, and return the one answer."""
    acc = {"publish": 2, "subscribe": 4}[action]
    fields = {"username": username, "clientid": client_id, "topic": topic}
    emqx = as_broker("acl/", {**fields, "action": action}, JSON)[1] == b'{"result":"allow"}'
    mosquitto = as_broker("mosquitto/acl", {**fields, "acc": acc})[0] == 200
    # as RabbitMQ's plugin for MQTT translates topics
    routing_key = topic.replace("/", ".").replace("+", "*")
    permission = {"publish": "write", "subscribe": "read"}[action]
    amqp = {**EXCHANGE, "variable_map.client_id": client_id, "username": username, "permission": permission}
    rabbitmq = as_broker("rabbitmq/topic", {**amqp, "routing_key": routing_key})[1] == b"allow"
    assert emqx == mosquitto == rabbitmq, (action, topic)
    return emqx


# Who may ask.


@pytest.mark.parametrize("path", DENIED)
def test_without_a_key_everything_is_denied(shared_server, as_broker, path):
    kind, right = RIGHT.get(path, (JSON, {"username": NAME}))
    wrong = [
        {},
        basic(BROKER, ""),
        basic(BROKER, "no key"),
        basic("", key(shared_server, "other")),
        basic(BROKER, key(shared_server, "other")),
        {"Authorization": "Bearer " + key(shared_server, "other")},
        {"Authorization": "Basic no base64"},
        {"Authorization": "Basic /w=="},
    ]
    for headers in wrong:
        assert query(shared_server, path, right, headers, kind) == DENIED[path]
    assert as_broker(path, right, kind) == ALLOWED.get(path, DENIED[path])


@pytest.mark.parametrize("path", DENIED)
def test_other_methods_are_405(shared_server, as_broker, path):
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        assert call(shared_server, f"/iot/broker/{path}", method=method)[0] == 405


@pytest.mark.parametrize("path", DENIED)
def test_unreadable_questions_are_denied(as_broker, path):
    kind, right = RIGHT.get(path, (JSON, {"username": NAME}))
    long = "x" * questions.BODY_LIMIT
    bodies = [b"", b"{", b"[]", b"\xff", b"username=%ff", b"[" * 60_000, {**right, "more": long}]
    bodies += [{name: value for name, value in right.items() if name != "username"}]
    if kind == JSON:
        bodies += [{**right, "username": value} for value in (None, 1.5, True, ["press-4"], {"press-4": 1})]
        bodies += [json.dumps(right).encode()[:-1] + b', "username": "lathe-1"}', b'{"username": "\\ud800"}']
    else:
        bodies += [b"&".join(b"%s=1" % quote(name).encode() for name in right), b"a=1&" * 100]
    for body in bodies:
        assert as_broker(path, body, kind) == DENIED[path], str(body)[:60]


def test_key_is_worth_nothing_once_it_is_replaced_or_revoked(server):
    add_device(server, NAME, client_id=NAME, username=NAME, password=PASSWORD)
    first, second, other = key(server), key(server), key(server, "other")

    def is_served(name, key):
        return query(server, "auth/", RIGHT["auth/"][1], basic(name, key), JSON) == ALLOWED["auth/"]

    assert [is_served(BROKER, first), is_served(BROKER, second), is_served("other", other)] == [False, True, True]
    server.query(lambda registry: registry.write(broker_keys.revoke, BROKER))
    assert [is_served(BROKER, second), is_served("other", other)] == [False, True]


# Whom it lets in.


def test_device_is_let_in_by_what_it_logs_in_with_and_under_its_own_name(as_broker):
    for client_id, username, password, expected in [
        (NAME, NAME, PASSWORD, True),
        (NAME, NAME, "wrong", False),
        (NAME, NAME, "", False),
        (NAME, "lathe-1", PASSWORD, False),
        ("lathe-1", NAME, PASSWORD, False),
        (NAME.upper(), NAME, PASSWORD, False),
        ("lathe-1", TOKEN, "", True),
        ("lathe-1", TOKEN, TOKEN, True),
        (NAME, TOKEN, "", False),  # it would have the other's session, and what waits in it
        ("lathe-1", "no token", "", False),
        ("lathe-1", "", "", False),
    ]:
        common = {"username": username, "password": password}
        rabbitmq = as_broker("rabbitmq/user", {**common, "client_id": client_id, "vhost": "/"})[1]
        emqx = as_broker("auth/", {**common, "clientid": client_id}, JSON)[1]
        mosquitto = as_broker("mosquitto/user", {**common, "clientid": client_id})[0]
        found = (rabbitmq == b"allow", emqx == b'{"result":"allow"}', mosquitto == 200)
        assert found == (expected,) * 3, (client_id, username, password)


CERTIFIED, CERTIFICATE = "drill-1", base64.b64encode(b"the DER of a certificate" * 20).decode()


@pytest.fixture(scope="module")
def certified(shared_server, as_broker):
    """A device with a certificate; returns what asks as a broker does."""
    add_device(shared_server, CERTIFIED, certificate=CERTIFICATE)
    return as_broker


def test_emqx_lets_in_a_device_by_the_very_certificate_that_it_has(certified):
    other = base64.b64encode(b"the DER of another one" * 20).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{CERTIFICATE}\n-----END CERTIFICATE-----\n"
    for fields, expected in [
        ({"cert_pem": CERTIFICATE}, True),
        ({"cert_pem": pem, "username": ""}, True),
        ({"cert_pem": CERTIFICATE, "username": NAME, "password": PASSWORD}, True),  # nothing else counts
        ({"cert_pem": CERTIFICATE, "clientid": NAME, "username": NAME, "password": PASSWORD}, False),
        ({"cert_pem": other, "clientid": NAME, "username": NAME, "password": PASSWORD}, True),  # of a whole fleet
        ({"cert_pem": other}, False),
        ({"cert_pem": CERTIFICATE[:-4]}, False),
        ({"cert_pem": ""}, False),
        ({"cert_pem": "${cert_pem}"}, False),  # of an EMQX that does not know it
        ({"cert_pem": CERTIFICATE, "clientid": NAME}, False),
        ({"cert_common_name": CERTIFIED, "cert_subject": f"CN={CERTIFIED}", "username": CERTIFIED}, False),
    ]:
        question = {"clientid": CERTIFIED, **fields}
        assert certified("auth/", question, JSON) == (ALLOWED if expected else DENIED)["auth/"], fields
        topic = {"topic": f"iot/default/{question['clientid']}/data", "action": "publish"}
        assert certified("acl/", {**question, **topic}, JSON) == (ALLOWED if expected else DENIED)["acl/"], fields
    theirs = {"topic": f"iot/default/{NAME}/data", "action": "publish"}
    assert certified("acl/", {"clientid": CERTIFIED, "cert_pem": CERTIFICATE, **theirs}, JSON) == DENIED["acl/"]


def test_devices_without_a_user_name_are_denied_whatever_their_client_id_is(shared_server, certified):
    add_device(shared_server, "client-1", client_id="client-1")
    assert certified("auth/", {"clientid": "client-1", "cert_pem": "x"}, JSON) == DENIED["auth/"]
    assert certified("auth/", {"clientid": "client-1"}, JSON) == DENIED["auth/"]


@pytest.mark.parametrize("name", [CERTIFIED, f"CN={CERTIFIED}", CERTIFICATE])
@pytest.mark.parametrize("password", [{}, {"password": ""}, {"password": CERTIFICATE}])
def test_name_of_a_certificate_is_no_proof_to_rabbitmq_and_mosquitto(certified, name, password):
    """Theirs look the same whether there was a certificate or not, and one of any authority may have the name."""
    more = {"username": name, **password, "cert_pem": CERTIFICATE, "clientid": CERTIFIED}
    amqp = {**more, "client_id": CERTIFIED, "vhost": "/", "ssl_cert_subject": f"CN={CERTIFIED}"}
    for path, fields in (("rabbitmq/user", amqp), ("rabbitmq/vhost", amqp), ("mosquitto/user", more)):
        assert certified(path, fields) == DENIED[path]
    topic = {"topic": f"iot/default/{CERTIFIED}/data", "acc": 2}
    assert certified("mosquitto/acl", {**more, **topic}) == DENIED["mosquitto/acl"]
    exchange = {**EXCHANGE, "variable_map.client_id": CERTIFIED, "username": name, "permission": "write"}
    routing_key = f"iot.default.{CERTIFIED}.data"
    assert certified("rabbitmq/topic", {**exchange, "routing_key": routing_key}) == DENIED["rabbitmq/topic"]


def test_amqp_client_and_other_virtual_hosts_are_denied(as_broker):
    login = {"username": NAME, "password": PASSWORD}
    for more in ({}, {"client_id": ""}, {"client_id": NAME}, {**AMQP, "vhost": "other"}):
        assert as_broker("rabbitmq/user", {**login, **more}) == DENIED["rabbitmq/user"]
        assert as_broker("rabbitmq/vhost", {"username": NAME, **more}) == DENIED["rabbitmq/vhost"]


def test_device_of_a_profile_for_another_transport_is_denied(server):
    profile = server.new_profile(ProvisionType.DISABLED)
    add_device(server, "slow-1", token="token-of-slow-1", profile=profile.name)
    headers = basic(BROKER, key(server))
    question = {"username": "token-of-slow-1", "password": ""}
    assert query(server, "auth/", question, headers, JSON) == ALLOWED["auth/"]

    def use_coap(session):
        profiles.by_name(session, profile.name).transport_type = "COAP"

    server.query(lambda registry: registry.write(use_coap))
    assert query(server, "auth/", question, headers, JSON) == DENIED["auth/"]


# What it may do.


def test_device_uses_its_own_topics_each_in_one_direction(as_broker):
    own, other = f"iot/default/{NAME}", "iot/default/lathe-1"
    topics = [f"{device}/{each}" for device, each in product((own, other), ("data", "status", "cmd"))]
    may = {
        (action, topic)
        for action, topic in product(("publish", "subscribe"), topics)
        if allows(as_broker, action, topic)
    }
    assert may == {("publish", f"{own}/data"), ("publish", f"{own}/status"), ("subscribe", f"{own}/cmd")}


def test_nothing_leads_around_the_own_topics(as_broker):
    own = ["iot", "default", NAME, "cmd"]
    around = {"#", "+", "*", "$SYS/#", "$CONTROL/dynamic-security/v1", "", "/", "\0", f"iot/default/{NAME}"}
    for name in ("cmd", "data"):
        topic = "/".join([*own[:3], name])
        around |= {f"$share/any/{topic}", f"$queue/{topic}", f"$delayed/5/{topic}", f"$exclusive/{topic}"}
        around |= {f"/{topic}", f"{topic}/", f"{topic}/#", f"{topic}/more", topic.upper(), f" {topic}", f"{topic}\0"}
        around |= {
            f"{topic}\n",
            topic.replace("/", "//", 1),
            topic.replace("press", "pre%73s"),
            f"{topic}#",
            f"{topic}+",
        }
    for at in range(4):
        for level in ("+", "#", "*", "", ".", "..", "$share", "lathe-1"):
            around |= {"/".join([*own[:at], level, *own[at + 1 :]]), "/".join([*own[:at], level])}
            around |= {"/".join([*own[:at], level, *own[at:]])}
    for action, topic in product(("publish", "subscribe"), sorted(around)):
        assert not allows(as_broker, action, topic), (action, topic)


# Characters by which a name could be more than one level, or a wildcard, in MQTT's topics or in AMQP's routing keys.
NAMES = ["a/b", "a.b", "a+b", "#", "+", "*", "$SYS", "a%2Fb", "press 5", "größe", "..", "."]


@pytest.mark.parametrize("name", NAMES)
def test_name_is_one_level_of_a_topic_and_nobody_elses(as_broker, shared_server, name):
    add_device(shared_server, name, client_id=name, username=name, password=PASSWORD)
    who = {"username": name, "client_id": name}
    level = quote(name, safe="").replace(".", "%2E")
    assert allows(as_broker, "publish", f"iot/default/{level}/data", **who)
    assert allows(as_broker, "subscribe", f"iot/default/{level}/cmd", **who)
    assert not allows(as_broker, "publish", f"iot/default/{NAME}/data", **who)
    raw = f"iot/default/{name}/cmd"
    assert not allows(as_broker, "subscribe", raw, **who)
    assert not allows(as_broker, "subscribe", f"iot/default/{level}/cmd")


def test_topics_are_those_of_the_profiles_template_for_all_brokers(as_broker, shared_server):
    profile = shared_server.new_profile(ProvisionType.DISABLED).name
    names = [f"{profile}-1", f"{profile}-2"]
    for each in names:
        add_device(shared_server, each, client_id=each, username=each, password=PASSWORD, profile=profile)

    def follow(pattern):
        template = contract.parse({"topics": pattern})
        return shared_server.query(
            lambda registry: registry.write(
                lambda session: templates.set_template(profiles.by_name(session, profile), template)
            )
        )

    def may(name, topics):
        who = {"username": name, "client_id": name}
        return {
            (action, topic)
            for action, topic in product(("publish", "subscribe"), topics)
            if allows(as_broker, action, topic, **who)
        }

    bases = ["iot/{type}", "hall-4/{type}/iot", "hall-4"]
    topics = [
        f"{base.format(type=profile)}/{device}/{each}"
        for base, device, each in product(bases, [*names, NAME, "+", "#"], ("data", "status", "cmd"))
    ]
    for pattern, base in (("hall-4/{type}/{prefix}/{id}", bases[1]), ("hall-4/{id}", bases[2]), (None, bases[0])):
        follow(pattern)  # a change holds from the next question on
        for each in names:
            own = f"{base.format(type=profile)}/{each}"
            assert may(each, topics) == {
                ("publish", f"{own}/data"),
                ("publish", f"{own}/status"),
                ("subscribe", f"{own}/cmd"),
            }


def test_rabbitmq_has_one_exchange_and_two_queues_for_a_device(as_broker):
    names = [
        *("amq.topic", "", "amq.default", "amq.direct", "amq.fanout"),
        *(f"mqtt-subscription-{who}qos{qos}" for who in (NAME, "lathe-1", "") for qos in (0, 1, 2)),
    ]
    may = set()
    for kind, name, permission in product(
        ("exchange", "queue", "topic", "vhost", ""), names, ("configure", "write", "read", "")
    ):
        question = {"username": NAME, "resource": kind, "name": name, "permission": permission, **AMQP}
        if as_broker("rabbitmq/resource", question)[1] == b"allow":
            may.add((kind, name, permission))
    queues = [f"mqtt-subscription-{NAME}qos{qos}" for qos in (0, 1)]
    expected = {("exchange", "amq.topic", each) for each in ("write", "read")}
    assert may == expected | {("queue", *each) for each in product(queues, ("configure", "write", "read"))}


def test_rabbitmq_topic_of_another_exchange_or_host_is_denied(as_broker):
    _, right = RIGHT["rabbitmq/topic"]
    for more in (
        *({"name": "amq.direct"}, {"vhost": "other"}, {"permission": "configure"}, {"variable_map.client_id": ""}),
        *({"variable_map.client_id": "lathe-1"}, {"routing_key": f"iot/default/{NAME}/data"}),
    ):
        assert as_broker("rabbitmq/topic", {**right, **more}) == DENIED["rabbitmq/topic"]


def test_mosquitto_delivers_to_a_device_its_commands_only(as_broker):
    topics = [f"iot/default/{NAME}/{each}" for each in ("data", "status", "cmd")]
    may = {
        (topic[-4:], acc)
        for topic, acc in product(topics, (0, 1, 2, 3, 4, 5, 17, "", "x"))
        if as_broker("mosquitto/acl", {"username": NAME, "clientid": NAME, "topic": topic, "acc": acc})[0] == 200
    }
    assert may == {("data", 2), ("atus", 2), ("/cmd", 1), ("/cmd", 4)}


def test_deleted_deactivated_or_decommissioned_device_is_denied_at_once(server):
    headers = basic(BROKER, key(server))
    login = {"username": "gone", "password": "the-password"}
    topic = {"username": "gone", "topic": "iot/default/gone/data", "action": "publish"}

    def add():
        add_device(server, "gone", client_id="gone", username="gone", password="the-password")

    def answers():
        return [query(server, path, body, headers, JSON)[1] for path, body in (("auth/", login), ("acl/", topic))]

    def change(action):
        return server.query(lambda registry: registry.write(lambda session: action(devices.by_name(session, "gone"))))

    add()
    assert answers() == [b'{"result":"allow"}'] * 2
    delete_device(server, "gone")
    assert answers() == [b'{"result":"deny"}'] * 2
    add()
    change(lifecycle.deactivate)
    assert answers() == [b'{"result":"deny"}'] * 2
    change(lifecycle.activate)
    assert answers() == [b'{"result":"allow"}'] * 2
    change(lambda device: lifecycle.decommission(object_session(device), device))
    assert answers() == [b'{"result":"deny"}'] * 2


def test_login_at_a_broker_proves_a_device(server):
    add_device(server, NAME, client_id=NAME, username=NAME, password=PASSWORD)

    def is_proven():
        return server.query(
            lambda registry: registry.read(lambda session: devices.by_name(session, NAME).provisioned_ms)
        )

    headers = basic(BROKER, key(server))
    assert query(server, "acl/", RIGHT["acl/"][1], headers, JSON) == ALLOWED["acl/"]
    assert is_proven() is None
    assert query(server, "auth/", RIGHT["auth/"][1], headers, JSON) == ALLOWED["auth/"]
    assert is_proven()


def test_prefix_is_the_servers_option(start_server):
    server = start_server(topic_prefix="plant/line-4")
    headers = basic(BROKER, key(server))
    add_device(server, NAME, token=TOKEN)
    for topic, expected in ((f"plant/line-4/default/{NAME}/data", "allow"), (f"iot/default/{NAME}/data", "deny")):
        question = {"username": TOKEN, "topic": topic, "action": "pub"}
        assert json.loads(query(server, "acl/", question, headers, JSON)[1]) == {"result": expected}


# Limits, and what is told.


def trail(server):
    """The rows of the audit trail about brokers."""

    def rows(session):
        found = audit.find(session, limit=1000)
        return [(row.what, row.entity, row.result) for row in found if row.what.startswith("broker.")]

    return server.query(lambda registry: registry.read(rows))


def test_guesses_at_a_key_are_limited_for_their_address_and_no_broker_is_locked_out(start_server):
    server = start_server(limits=Rules())
    headers = basic(BROKER, key(server))
    add_device(server, NAME, client_id=NAME, username=NAME, password=PASSWORD)
    question = RIGHT["auth/"][1]
    assert query(server, "auth/", question, headers, JSON) == ALLOWED["auth/"]
    for n in range(130):
        assert query(server, "auth/", question, basic(f"guess-{n}", "key"), JSON) == DENIED["auth/"]
    assert query(server, "auth/", question, basic("new", key(server, "new")), JSON) == DENIED["auth/"]
    assert query(server, "auth/", question, headers, JSON) == ALLOWED["auth/"]
    assert server.events("limited")


def test_limited_broker_is_in_the_audit_trail(start_server):
    server = start_server(limits=Rules())
    for _ in range(11):
        query(server, "auth/", RIGHT["auth/"][1], basic("guess", "key"), JSON)
    assert ("broker.login", "", "limited") in trail(server)


def test_guesses_at_a_password_are_limited_for_the_devices_address(start_server):
    server = start_server(limits=Rules(per_key=40))
    headers = basic(BROKER, key(server))
    add_device(server, NAME, client_id=NAME, username=NAME, password=PASSWORD)
    add_device(server, "other", token=TOKEN)

    def login(password, **more):
        return query(server, "auth/", {"username": NAME, "password": password, **more}, headers, JSON)[1]

    for _ in range(10):
        assert login("wrong", peerhost="198.51.100.1") == b'{"result":"deny"}'
    assert login(PASSWORD, peerhost="198.51.100.1") == b'{"result":"deny"}'
    assert login(PASSWORD, peerhost="198.51.100.2") == b'{"result":"allow"}'
    assert login(PASSWORD) == b'{"result":"allow"}'
    # of an unknown address a guesser has more, and locks out only the name that it guesses at
    for _ in range(30):
        login("wrong", peerhost="no address")
    assert login(PASSWORD) == b'{"result":"allow"}'
    for _ in range(10):
        login("wrong")
    assert login(PASSWORD) == b'{"result":"deny"}'
    assert query(server, "auth/", {"username": TOKEN, "password": ""}, headers, JSON)[1] == b'{"result":"allow"}'
    assert server.wait_for("limited")["broker"] == BROKER
    assert ("broker.device_login", "", "limited") in trail(server)


def test_refusals_are_logged_with_the_broker_and_the_device(server):
    add_device(server, NAME, client_id=NAME, username=NAME, password=PASSWORD)
    headers = basic(BROKER, key(server))
    query(server, "auth/", RIGHT["auth/"][1], basic(BROKER, "wrong-key-of-broker"), JSON)
    query(server, "auth/", {"username": NAME, "password": "wrong-password"}, headers, JSON)
    query(server, "acl/", {"username": NAME, "topic": "#", "action": "sub"}, headers, JSON)
    query(server, "auth/", b"{", headers, JSON)
    assert server.wait_for("broker_refused")["peer"] == "127.0.0.1"
    assert server.wait_for("login_refused")["broker"] == BROKER
    denied = server.wait_for("broker_denied")
    assert (denied["broker"], denied["device"], denied["action"]) == (BROKER, NAME, "subscribe")
    server.wait_for("bad_request")
    assert sorted(trail(server)) == [
        ("broker.access", NAME, "denied"),
        ("broker.device_login", "", "refused"),
        ("broker.login", "", "refused"),
    ]
    assert "wrong-" not in server.journal_text


def test_failing_database_denies(server, monkeypatch):
    headers = basic(BROKER, key(server))

    async def fail(*_):
        raise OSError("no disk")

    monkeypatch.setattr(server.registry, "is_broker", fail)
    for path, (kind, right) in RIGHT.items():
        assert query(server, path, right, headers, kind) == DENIED[path]
    assert len(server.events("failure")) == len(RIGHT)
