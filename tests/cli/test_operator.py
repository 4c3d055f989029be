"""Operators' commands: on records without a server, and on a server with its URL."""

import json
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from pathlib import Path

import pytest

from bench.cli.commands import audit
from bench.cli.options import operator_session, prompts, server_addresses
from bench.registry.credentials import access_token, mqtt_basic, x509
from tests.support import certificates
from tests.support.commands import bench, printed, refused
from tests.support.mqtt_packets import PINGREQ, PINGRESP, connack, connect, publish, suback, subscribe
from tests.support.operators import account
from tests.support.raw_client import RawClient
from tests.support.servers import PATIENCE_S

CALLS = "v1/devices/me/rpc/request/+"


def test_wrong_password_is_one_line_that_does_not_quote_it(url, tmp_path):
    (tmp_path / "password").write_text("not-the-password")
    assert "not-the-password" not in refused(1, "the server denies it", "device", "list", *url)


def test_errors_of_a_login_have_their_own_cure(server, url, tmp_path):
    http, https, rest = url[1], f"https://127.0.0.1:{server.ports.https}", url[2:]
    refused(1, "give the CA of its certificate with --ca", "device", "list", "--url", https, *rest)
    refused(1, "this port has no TLS", "device", "list", "--url", http.replace("http:", "https:"), *rest)
    for port in (server.ports.https, server.ports.mqtt):
        message = "and this its port of HTTP, and not of HTTPS or MQTT?"
        refused(1, message, "device", "list", "--url", f"http://127.0.0.1:{port}", *rest)
    refused(1, "has no login: is it a ThingsBoard", "device", "list", "--url", f"{http}/elsewhere", *rest)
    (tmp_path / "password").write_text("not-the-password")
    refused(1, "check the user and the password", "device", "list", *url)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "5", '{"username": "me"}', "\xff"])
def test_operators_account_that_is_damaged_is_one_line(tmp_path, text):
    data = ("--data", str(tmp_path))
    assert bench("profile", "create", "tray7", *data).returncode == 0
    (tmp_path / "operator.json").write_bytes(text.encode("latin-1"))
    assert "http://bench" not in refused(1, "operator.json is damaged: put it back", "profile", "list", *data)


def test_password_in_the_environment_is_taken(server, url):
    done = bench("device", "list", "--json", *url[:4], env={"BENCH_PASSWORD": account(server)["password"]})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--url", "http://127.0.0.1:1"), 2, "needs --user"),
        (("--url", "tb.example", "--user", "me"), 2, "not a URL: tb.example"),
        (("--url", "http://me:a-password@tb.example", "--user", "me"), 2, "must not contain a user or password"),
        (("--url", "http://127.0.0.1:1", "--user", "me"), 1, "cannot reach http://127.0.0.1:1"),
        (("--user", "me"), 2, "go with --url"),
    ],
)
def test_server_that_is_not_named_right_is_one_line(options, code, message):
    assert "a-password" not in refused(code, message, "device", "list", *options, BENCH_PASSWORD="a-password")


def test_password_is_never_an_option():
    for command in ("device list", "profile show", "import", "rpc", "telemetry", "audit"):
        text = bench(*command.split(), "--help").stdout
        assert "--password-file" in text
        assert "--password " not in text


def test_certificates_are_taken_in_any_form(url, tmp_path):
    made, above = certificates.make("press-9"), certificates.make("the CA", ca=True)
    (tmp_path / "tray.csv").write_text("name\npress-9\n")
    printed("import", str(tmp_path / "tray.csv"), *url)
    forms = {"der": made.der, "utf-16": made.pem.decode().encode("utf-16"), "chain": made.pem + above.pem}
    for form, data in forms.items():
        (tmp_path / form).write_bytes(data)
        assert bench("device", "credentials", "press-9", "--certificate", str(tmp_path / form), *url).returncode == 0
        shown = printed("device", "show", "press-9", "--show-secrets", *url)
        assert shown["credentials"] == b64encode(made.der).decode()
    (tmp_path / "ca.der").write_bytes(above.der)
    chain = ("--strategy", "X509_CERTIFICATE_CHAIN", "--certificate", str(tmp_path / "ca.der"))
    assert printed("profile", "create", "fleet", *chain, *url)["provision_type"] == "X509_CERTIFICATE_CHAIN"
    refused(
        2, "holds no certificate", "device", "credentials", "press-9", "--certificate", str(tmp_path / "tray.csv"), *url
    )


def test_devices_are_imported_shown_and_changed(server, url, tmp_path):
    csv = tmp_path / "tray.csv"
    csv.write_text(
        "name,type,label,access token,room\npress-1,default,left,a-token-of-press-1,7\npress-2,default,,,8\n"
    )
    assert printed("import", str(csv), *url)["created"] == ["press-1", "press-2"]
    assert [each["name"] for each in printed("device", "list", *url)] == ["press-1", "press-2"]
    assert [each["name"] for each in printed("device", "list", "--search", "S-2", *url)] == ["press-2"]
    shown = printed("device", "show", "press-1", "--show-secrets", *url)
    assert shown["credentials"] == "a-token-of-press-1"
    assert shown["attributes"] == {"SERVER_SCOPE": {"room": 7}}

    shared = printed("device", "attributes", "press-1", "--set", "interval=5", "--set", "name=a b", *url)
    assert shared == [{"key": "interval", "value": 5}, {"key": "name", "value": "a b"}]
    left = printed("device", "attributes", "press-1", "--delete", "interval", *url)
    assert left == [{"key": "name", "value": "a b"}]

    secret = tmp_path / "secret"
    secret.write_text("another-token-of-it\n")
    assert bench("device", "credentials", "press-1", "--secret-file", str(secret), *url).returncode == 0
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="another-token-of-it"))
        client.expect(connack(0))
    assert bench("device", "credentials", "press-2", "--mqtt-user", "press", *url).returncode == 0
    assert printed("device", "show", "press-2", *url)["credentials_type"] == "MQTT_BASIC"
    refused(2, "give credentials", "device", "credentials", "press-2", *url)

    output = printed("audit", *url)
    assert {"LOGIN", "CREDENTIALS_UPDATED", "ATTRIBUTES_UPDATED"} <= {each["what"] for each in output}
    shown = bench("audit", *url).stdout
    assert all(each["entity"] in shown and f"http {each['address']}" in shown for each in output)
    assert {each["who"] for each in output if each["entity"] == "press-1"} >= {account(server)["username"]}
    assert bench("device", "delete", "press-2", *url).returncode == 0
    refused(1, "no device press-2", "device", "show", "press-2", *url)


def test_attribute_that_would_be_stored_as_another_value_is_refused(url):
    assert bench("device", "create", "press-1", *url).returncode == 0
    for text in ("wifi=00123456", 'wifi="00123456"', "n=.5"):
        refused(2, "ThingsBoard stores", "device", "attributes", "press-1", "--set", text, *url)
    assert printed("device", "attributes", "press-1", *url) == []
    given = ("--set", "n=1e3", "--set", "m=1,5", "--set", 'k="7"')
    shown = printed("device", "attributes", "press-1", *given, *url)
    assert {each["key"]: each["value"] for each in shown} == {"n": 1000, "m": "1,5", "k": 7}


def test_address_of_a_login_is_shown_by_any_name():
    """ThingsBoard calls it clientAddress."""
    entry = {
        "createdTime": 1000,
        "userName": "jo",
        "actionType": "LOGIN",
        "entityName": "jo",
        "actionStatus": "SUCCESS",
    }
    for data in ({"clientAddress": "10.0.0.9"}, {"address": "10.0.0.9"}):
        assert audit._row({**entry, "actionData": data}, whole=False)["from"] == "10.0.0.9"
        assert audit._row({**entry, "actionData": data}, whole=True)["address"] == "10.0.0.9"
    assert audit._row({**entry, "actionData": None}, whole=False)["from"] == ""


def test_profile_in_use_is_not_deleted(url):
    assert bench("profile", "create", "tray7", *url).returncode == 0
    assert bench("device", "create", "press-1", "--profile", "tray7", *url).returncode == 0
    assert printed("device", "show", "press-1", *url)["gateway"] is False
    assert printed("device", "create", "gateway-1", "--gateway", *url)["gateway"] is True
    refused(1, "cannot be deleted", "profile", "delete", "tray7", *url)
    assert bench("device", "delete", "press-1", *url).returncode == 0
    assert bench("profile", "delete", "tray7", *url).returncode == 0
    refused(1, "no profile tray7", "profile", "show", "tray7", *url)


def test_chain_profile_is_made_of_its_certificate(url, server):
    pem = str(server.data / "tls" / "ca.pem")
    chain = ("--strategy", "X509_CERTIFICATE_CHAIN", "--certificate", pem, "--allow-create")
    made = printed("profile", "create", "fleet", *chain, "--name-pattern", r"(.*)\.example", *url)
    assert made["certificate_pattern"] == r"(.*)\.example"
    assert made["allow_create"] is True
    assert len(made["provision_device_key"]) == 64
    refused(1, "already exists", "profile", "create", "twin", *chain, *url)
    refused(2, "go together", "profile", "create", "x", "--certificate", pem, *url)


@pytest.mark.parametrize(
    ("answer", "code", "complaint"),
    [
        (b'{"done":true}', 0, ""),
        (b'{"error":"unknown method"}', 1, "error: press-1 answers with an error: unknown method\n"),
        (b'{"error":{"code":7}}', 1, 'error: press-1 answers with an error: {"code": 7}\n'),
        (b'{"error":null}', 0, ""),
        (b'["error"]', 0, ""),
        (b'"error"', 0, ""),
    ],
)
def test_call_is_received_and_answered(server, url, answer, code, complaint):
    device = server.query(lambda registry: registry.create_device("press-1", "default", token="a-token-of-press-1"))
    with RawClient(server.ports.mqtt, PATIENCE_S) as client:
        client.send(connect(username="a-token-of-press-1") + subscribe(1, (CALLS, 0)))
        client.expect(connack(0) + suback(1, 0))
        answered = []
        asking = threading.Thread(
            target=lambda: answered.append(bench("rpc", device.name, "blink", '{"times": 3}', "--timeout", "30", *url))
        )
        asking.start()
        head = client.read(2)
        rest = client.read(head[1])
        topic, body = rest[2 : 2 + rest[1]].decode(), rest[2 + rest[1] :]
        assert json.loads(body) == {"method": "blink", "params": {"times": 3}}
        client.send(publish(topic.replace("request", "response"), answer) + PINGREQ)
        asking.join(PATIENCE_S)
        assert json.loads(answered[0].stdout) == json.loads(answer)
        assert (answered[0].returncode, answered[0].stderr) == (code, complaint)


def test_call_that_fails_is_one_line(server, url):
    device = server.query(lambda registry: registry.create_device("press-1", "default"))
    refused(1, "is the device online", "rpc", device.name, "blink", "--timeout", "5", *url)
    refused(2, "look like JSON", "rpc", device.name, "blink", "{times: ", *url)


@pytest.mark.parametrize(
    ("options", "answer", "code", "status"),
    [
        ((), b'{"done":true}', 0, "SUCCESSFUL"),
        ((), b'{"error":"unknown method"}', 1, "SUCCESSFUL"),
        (("--oneway",), None, 0, "DELIVERED"),
    ],
)
def test_persistent_call_waits_for_the_device(server, url, options, answer, code, status):
    device = server.query(lambda registry: registry.create_device("press-1", "default", token="a-token-of-press-1"))
    called = ("rpc", device.name, "blink", '{"times": 3}', "--persistent", "--timeout", "60", *options, *url)
    done = []
    asking = threading.Thread(target=lambda: done.append(bench(*called)))
    asking.start()
    server.wait_for("operator", what="device.rpc_call")
    with RawClient(server.ports.mqtt, PATIENCE_S) as client:
        client.send(connect(username="a-token-of-press-1") + subscribe(1, (CALLS, 0)))
        client.expect(connack(0) + suback(1, 0))
        head = client.read(2)
        assert b'{"method":"blink","params":{"times":3}}' in client.read(head[1])
        if answer is not None:
            client.send(publish("v1/devices/me/rpc/response/0", answer))
        asking.join(PATIENCE_S)
    printed = json.loads(done[0].stdout)
    response = None if answer is None else json.loads(answer)
    assert printed == {"rpcId": printed["rpcId"], "status": status, "response": response}
    assert done[0].returncode == code, done[0].stderr


def test_persistent_call_that_is_not_followed_is_its_id(server, url):
    device = server.query(lambda registry: registry.create_device("press-1", "default"))
    done = bench("rpc", device.name, "blink", "--persistent", "--no-wait", *url)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"rpcId"}
    refused(1, "the call is EXPIRED", "rpc", device.name, "blink", "--persistent", "--timeout", "5", *url)
    refused(2, "--no-wait goes with --persistent", "rpc", device.name, "blink", "--no-wait", *url)


def rotating(server, url, login, *answers, stays=False):
    """`bench device rotate press-1`, run for each of these answers of a device that is online."""
    done = []
    for answer in answers:
        with RawClient(server.ports.mqtt, PATIENCE_S) as client:
            client.send(connect(**login) + subscribe(1, (CALLS, 0)))
            client.expect(connack(0) + suback(1, 0))
            asking = threading.Thread(target=lambda: done.append(bench("device", "rotate", "press-1", *url)))
            asking.start()
            head = client.read(2)
            rest = client.read(head[1])
            topic, body = rest[2 : 2 + rest[1]].decode(), rest[2 + rest[1] :]
            assert json.loads(body) == {"method": "rotateCredentials", "params": {}}
            payload = json.dumps(answer).encode()
            client.send(publish(topic.replace("request", "response"), payload))
            asking.join(PATIENCE_S)
            if done[-1].returncode == 0 and not stays:
                client.expect_closed()
            else:
                client.send(PINGREQ)
                client.expect(PINGRESP)
    return done


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"status": "FAILURE"},
        ["a-token-that-is-bad"],
        "a-token-that-is-bad",
        {"credentialsType": "ACCESS_TOKEN", "token": ""},
        {"credentialsType": "ACCESS_TOKEN", "token": ["a-token-that-is-bad"]},
        {"credentialsType": "X509_CERTIFICATE", "token": "a-token-that-is-bad"},
        {"credentialsType": "MQTT_BASIC", "password": "a-token-that-is-bad"},
        {"credentialsType": "MQTT_BASIC", "username": {"a-token-that-is-bad": 1}},
        {"credentialsType": "LWM2M_CREDENTIALS", "token": "a-token-that-is-bad"},
        {"credentialsType": "ACCESS_TOKEN", "token": "token-of-press-2"},
    ],
    ids=str,
)
def test_device_that_answers_without_credentials_keeps_its_own(server, url, answer):
    for name in ("press-1", "press-2"):
        server.query(lambda registry, name=name: registry.create_device(name, "default", token=f"token-of-{name}"))
    (done,) = rotating(server, url, {"username": "token-of-press-1"}, answer)
    is_taken = answer == {"credentialsType": "ACCESS_TOKEN", "token": "token-of-press-2"}
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert ("already assigned" if is_taken else "press-1 answered without credentials") in done.stderr
    assert "a-token-that-is-bad" not in done.stderr
    assert "token-of-press" not in done.stderr
    kept = server.query(lambda registry: registry.device("press-1")).credentials
    assert kept == access_token("token-of-press-1")


def test_device_that_is_not_connected_is_one_line_and_keeps_its_own(server, url):
    refused(1, "no device press-1", "device", "rotate", "press-1", *url)
    server.query(lambda registry: registry.create_device("press-1", "default", token="token-of-press-1"))
    refused(1, "wait until it is online", "device", "rotate", "press-1", "--timeout", "5", *url)
    kept = server.query(lambda registry: registry.device("press-1")).credentials
    assert kept == access_token("token-of-press-1")


@pytest.mark.parametrize(
    ("answer", "stored"),
    [
        ({"credentialsType": "ACCESS_TOKEN", "token": "a-token-it-chose"}, access_token("a-token-it-chose")),
        (
            {
                "credentialsType": "MQTT_BASIC",
                "clientId": "press-1",
                "username": "u",
                "password": "a-password-it-chose",
            },
            mqtt_basic("press-1", "u", "a-password-it-chose"),
        ),
        ({"credentialsType": "MQTT_BASIC", "username": "u-alone"}, mqtt_basic(None, "u-alone", None)),
        ({"credentialsType": "X509_CERTIFICATE", "hash": "MIIBIjAN"}, x509("MIIBIjAN")),
    ],
    ids=["token", "basic", "user", "certificate"],
)
def test_credentials_that_a_device_chose_are_saved_and_never_shown(server, url, answer, stored):
    server.query(lambda registry: registry.create_device("press-1", "default", token="token-of-press-1"))
    (done,) = rotating(server, url, {"username": "token-of-press-1"}, answer)
    assert (done.returncode, done.stderr) == (0, "")
    kind = answer["credentialsType"]
    assert done.stdout == f"changed the credentials of press-1: {kind}, chosen by the device; its sessions end\n"
    assert server.query(lambda registry: registry.device("press-1")).credentials == stored


def test_rotation_that_is_requested_again_does_no_harm(server, url):
    server.query(lambda registry: registry.create_device("press-1", "default", token="token-of-press-1"))
    answer = {"credentialsType": "ACCESS_TOKEN", "token": "a-token-it-chose"}
    (first,) = rotating(server, url, {"username": "token-of-press-1"}, answer)
    again = rotating(server, url, {"username": "a-token-it-chose"}, answer, answer, stays=True)  # it has them
    assert [each.returncode for each in (first, *again)] == [0, 0, 0]
    stored = server.query(lambda registry: registry.device("press-1")).credentials
    assert stored == access_token("a-token-it-chose")


def test_telemetry_is_shown_and_followed(server, url):
    device = server.query(lambda registry: registry.create_device("press-1", "default", token="a-token-of-press-1"))
    login = server.query(lambda registry: registry.token_login("a-token-of-press-1"))
    server.query(
        lambda registry: registry.save_telemetry(login.id, [(1000, "t", 20), (2000, "t", 21), (1500, "u", "x")])
    )
    latest = bench("telemetry", device.name, "--json", *url)
    assert [json.loads(line) for line in latest.stdout.splitlines()] == [
        {"ts": 1500, "key": "u", "value": "x"},
        {"ts": 2000, "key": "t", "value": 21},
    ]
    command = [sys.executable, "-m", "bench.cli", "telemetry", device.name, "--follow", "--json", "--keys", "t", *url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert json.loads(following.stdout.readline()) == {"ts": 2000, "key": "t", "value": 21}
            server.query(lambda registry: registry.save_telemetry(login.id, [(3000, "t", 22), (3000, "u", "y")]))
            assert json.loads(following.stdout.readline()) == {"ts": 3000, "key": "t", "value": 22}
        finally:
            following.terminate()


def test_history_is_shown_oldest_first(server, url):
    server.query(lambda registry: registry.create_device("press-1", "default", token="a-token-of-press-1"))
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="a-token-of-press-1"))
        client.expect(connack(0))
        for number in range(3):
            client.send(publish("v2/t", b'{"n":%d}' % number, qos=1, packet_id=number + 1))
            client.read(4)
    shown = bench("telemetry", "press-1", "--last", "60", "--json", *url)
    entries = [json.loads(line) for line in shown.stdout.splitlines()]
    assert entries
    assert [entry["ts"] for entry in entries] == sorted(entry["ts"] for entry in entries)
    assert entries[-1]["value"] == 2


def test_claim_is_for_customers(url):
    assert bench("device", "create", "press-1", *url).returncode == 0
    refused(1, "denies", "device", "claim", "press-1", *url)


def test_account_that_is_gone_is_one_line(tmp_path):
    data = ("--data", str(tmp_path / "data"))
    assert bench("profile", "create", "mine", *data).returncode == 0
    (tmp_path / "data" / "operator.json").unlink()
    refused(1, "is gone", "profile", "list", *data)


def test_own_server_is_reached_past_a_proxy(server):
    """A proxy of the environment's is for others: it would be told the operator's password."""
    ports = {f"{name}_port": getattr(server.ports, name) for name in ("mqtt", "mqtts", "http", "https", "coap")}
    (server.data / "server.json").write_text(json.dumps({"host": "127.0.0.1", "pid": 1, "ca": "ca.pem", **ports}))
    with server_addresses.lock_folder(server.data), socket.create_server(("127.0.0.1", 0)) as proxy:
        environment = {"HTTP_PROXY": f"http://127.0.0.1:{proxy.getsockname()[1]}", "NO_PROXY": ""}
        done = bench("device", "list", "--json", "--data", server.data, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_password_is_prompted_for_once_however_many_requests_a_command_makes(monkeypatch):
    requested = []
    monkeypatch.setattr(prompts, "prompt", lambda text, _, **__: requested.append(text) or "a-password")
    monkeypatch.delenv("BENCH_PASSWORD", raising=False)
    where = operator_session.ServerOptions(data=Path(), url="http://127.0.0.1:1", user="somebody who is asked")
    assert [operator_session._password(where) for _ in range(3)] == ["a-password"] * 3
    assert requested == ["Password of somebody who is asked"]
