"""Profiles and devices in files, from one server to another: what arrives, what does not, and what is left alone."""

import json
import stat
from types import SimpleNamespace

import pytest

from tests.support.certificates import make
from tests.support.commands import bench, printed
from tests.support.operators import login, options
from tests.support.operators import ok as answer_of

CREDENTIALS = ("credentialsType", "credentialsId", "credentialsValue")


@pytest.fixture
def old(tmp_path):
    """Options for a data folder without a server, where things come from."""
    where = ("--data", str(tmp_path / "old"))
    ok("profile", "create", "tray7", *where)
    return where


@pytest.fixture
def new(server, tmp_path):
    """A running server of its own that is known by its URL, where things go; with an operator's client."""
    with login(server) as operator:
        yield SimpleNamespace(options=options(server, tmp_path), operator=operator)


def ok(*arguments):
    done = bench(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(code, message, *arguments):
    done = bench(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    return done.stdout


def changed(path, **members):
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


# --- profiles


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": ""}', '{"name": "a"}', "[" * 100_000, "\0"])
def test_profile_file_without_a_profile_is_one_line(old, tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    refused(2, "export", "profile", "import", tmp_path / "a.json", *old)
    assert [each["name"] for each in printed("profile", "list", *old)] == ["tray7"]


def test_profile_export_replaces_no_file_without_a_word(old, tmp_path):
    (tmp_path / "mine").write_text("mine")
    refused(2, "--force", "profile", "export", "tray7", tmp_path / "mine", *old)
    assert (tmp_path / "mine").read_text() == "mine"
    ok("profile", "export", "tray7", tmp_path / "mine", "--force", *old)
    assert json.loads((tmp_path / "mine").read_text())["name"] == "tray7"


def test_profile_of_that_name_is_left_alone_unless_replaced(old, new, tmp_path):
    file = tmp_path / "tray7.json"
    ok("profile", "export", "tray7", file, *old)
    ok("profile", "import", file, *new.options)
    before = printed("profile", "show", "tray7", "--show-secrets", *new.options)
    refused(1, "--name, or change this one with --replace", "profile", "import", file, "--secret", "new", *new.options)
    assert printed("profile", "show", "tray7", "--show-secrets", *new.options) == before
    ok("device", "create", "press-4", "--profile", "tray7", *new.options)
    ok("profile", "import", file, "--secret", "new", "--replace", *new.options)
    now = printed("profile", "show", "tray7", "--show-secrets", *new.options)
    assert now["created"] == before["created"]
    assert now["provision_device_key"] != before["provision_device_key"]
    assert printed("device", "show", "press-4", *new.options)["profile"] == "tray7"


def test_profile_with_a_key_in_use_is_refused(old, new, tmp_path):
    ok("profile", "export", "tray7", tmp_path / "tray7.json", *old)
    ok("profile", "import", tmp_path / "tray7.json", *new.options)
    refused(1, "key already exists", "profile", "import", tmp_path / "tray7.json", "--name", "other", *new.options)
    ok("profile", "import", tmp_path / "tray7.json", "--name", "other", "--secret", "new", *new.options)


def test_profile_export_has_the_form_of_thingsboards_pages(old, new, tmp_path):
    file = tmp_path / "tray7.json"
    output = ok("profile", "export", "tray7", file, *old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = json.loads(file.read_text())
    secret = found["profileData"]["provisionConfiguration"]["provisionDeviceSecret"]
    assert secret
    assert secret not in output
    assert found["default"] is False
    assert not {"id", "tenantId", "createdTime", "externalId", "version"} & set(found)
    stored = answer_of(new.operator.post("/api/deviceProfile", json=found))  # as the page's import sends it
    assert stored["provisionDeviceKey"] == found["provisionDeviceKey"]
    file.write_text(json.dumps({**stored, "name": "from the page"}))  # as it was saved by somebody's script
    refused(1, "key already exists", "profile", "import", file, *new.options)
    ok("profile", "import", file, "--secret", "new", *new.options)


@pytest.mark.parametrize("where", ["export", "import"])
def test_secret_none_provisions_nobody(old, new, tmp_path, where):
    file = tmp_path / "tray7.json"
    options = {where: ("--secret", "none")}
    ok("profile", "export", "tray7", file, *options.get("export", ()), *old)
    assert ("provisionDeviceSecret" in file.read_text()) == (where == "import")
    shown = ok("profile", "import", file, *options.get("import", ()), "--json", *new.options)
    assert json.loads(shown)["provision_type"] == "DISABLED"
    found = printed("profile", "show", "tray7", "--show-secrets", *new.options)
    assert (found["provision_device_key"], found["provision_device_secret"]) == (None, "")


def test_profile_of_certificate_chains_moves_with_its_ca(old, new, tmp_path):
    (tmp_path / "ca.pem").write_bytes(make("ca", ca=True).pem)
    chain = ("--strategy", "X509_CERTIFICATE_CHAIN", "--certificate", tmp_path / "ca.pem", "--name-pattern", "(.*)x")
    ok("profile", "create", "chain", *chain, *old)
    refused(2, "keep or none", "profile", "export", "chain", tmp_path / "c.json", "--secret", "new", *old)
    assert "It holds" not in ok("profile", "export", "chain", tmp_path / "c.json", *old)
    ok("profile", "import", tmp_path / "c.json", *new.options)
    shown = [printed("profile", "show", "chain", "--show-secrets", *where) for where in (old, new.options)]
    assert shown[0] == {**shown[1], "created": shown[0]["created"]}
    assert shown[1]["certificate_pattern"] == "(.*)x"


def test_parts_that_the_server_drops_are_named(old, new, tmp_path):
    file = tmp_path / "tray7.json"
    ok("profile", "export", "tray7", file, *old)
    rule_chain = {"entityType": "RULE_CHAIN", "id": "784f394c-42b6-435a-983c-b7beff2784f9"}
    changed(file, defaultRuleChainId=rule_chain, shoeSize=43)
    output = refused(1, "parts of it were not taken: 2", "profile", "import", file, *new.options)
    assert "not taken: defaultRuleChainId: this server does not have that rule chain" in output
    assert "not taken: shoeSize: this server does not keep it" in output
    assert printed("profile", "show", "tray7", *new.options)["provision_type"] == "ALLOW_CREATE_NEW_DEVICES"


# --- devices


@pytest.fixture
def fleet(old, tmp_path):
    """The file of an export of devices of every kind, with their credentials."""
    certificate = make("press-3").pem.decode()
    rows = [
        ["NAME", "TYPE", "LABEL", "ACCESS_TOKEN", "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD", "floor"],
        ["press-1", "tray7", "Left", "token-of-press-1", "", "", "", "", "3"],
        ["press-2", "tray7", "", "", "", "a client", "a user", "a password", ""],
        ["press-3", "tray7", "", "", certificate, "", "", "", ""],
    ]
    text = "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)
    (tmp_path / "fleet.csv").write_text(text)
    ok("import", tmp_path / "fleet.csv", *old)
    values = ("--set", 'limits={"low": 1.5, "on": true}', "--set", "floor=3", "--set", "provisionState=provisioned")
    ok("device", "attributes", "press-1", "--scope", "SERVER_SCOPE", *values, *old)
    ok("device", "attributes", "press-1", "--set", "interval=5", *old)
    ok("device", "export", tmp_path / "fleet.jsonl", "--with-credentials", *old)
    return tmp_path / "fleet.jsonl"


def record(operator, device):
    """Return all that a move keeps of a device."""
    found = answer_of(operator.get("/api/tenant/deviceInfos", params={"pageSize": 1, "page": 0, "textSearch": device}))
    info = found["data"][0]
    own = answer_of(operator.get(f"/api/device/{info['id']['id']}/credentials"))
    scopes = {}
    for scope in ("SERVER_SCOPE", "SHARED_SCOPE"):
        values = answer_of(operator.get(f"/api/plugins/telemetry/DEVICE/{info['id']['id']}/values/attributes/{scope}"))
        scopes[scope] = {each["key"]: each["value"] for each in values if each["key"] != "active"}
    return {
        **{key: info[key] for key in ("name", "label", "type", "customerTitle")},
        **{key: own[key] for key in CREDENTIALS},
        **scopes,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "holds no devices"),
        ("[]", "line 1 holds no device"),
        ("nonsense", "line 1 holds no device"),
        ("[" * 100_000, "line 1 holds no device"),
        ('{"name": 5, "profile": "tray7"}', "line 1 holds no device"),
        ('{"name": "a"}', "line 1 holds no device"),
        ('{"name": "a", "profile": "tray7", "credentials": {"x": 1}}', "line 1 holds no device"),
        ('{"name": "a", "profile": "tray7", "attributes": {"CLIENT": {}}}', "line 1 holds no device"),
        ('{"name": "a", "profile": "tray7", "attributes": {"SERVER_SCOPE": []}}', "line 1 holds no device"),
        ('{"name": "a", "profile": "tray7"}\n{"name": "a", "profile": "tray7"}', "line 2 has a name that was there"),
        ('{"name": "a", "profile": "tray7"}\n' + "5\n" * 5, "line 4 holds no device, and 2 more: name a file"),
        ('{"name": "a", "profile": "tray8"}', "no profile tray8: move it first"),
    ],
)
def test_wrong_line_sends_nothing(old, tmp_path, line, message):
    (tmp_path / "fleet.jsonl").write_text(line)
    refused(2, message, "device", "import", tmp_path / "fleet.jsonl", *old)
    assert printed("device", "list", *old) == []


def test_import_reads_devices_from_standard_input(old, new, fleet, tmp_path):
    ok("profile", "export", "tray7", tmp_path / "tray7.json", *old)
    ok("profile", "import", tmp_path / "tray7.json", *new.options)
    done = bench("device", "import", "-", *new.options, typed=fleet.read_text())
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        "3 created, 0 changed, 0 were there as they are in the file",
    )


def test_device_with_other_credentials_is_left_alone(old, new, fleet, tmp_path):
    ok("profile", "export", "tray7", tmp_path / "tray7.json", *old)
    ok("profile", "import", tmp_path / "tray7.json", *new.options)
    ok("device", "create", "press-1", *new.options)
    before = record(new.operator, "press-1")
    output = refused(1, "of 3 devices 1 were not imported, and 0 not wholly", "device", "import", fleet, *new.options)
    assert "press-1: there is a device press-1 with other credentials: rename or delete one of them" in output
    assert "2 created, 0 changed, 0 were there" in output
    assert record(new.operator, "press-1") == before


def test_credentials_of_another_device_are_refused(old, new, fleet, tmp_path):
    ok("profile", "export", "tray7", tmp_path / "tray7.json", *old)
    ok("profile", "import", tmp_path / "tray7.json", *new.options)
    ok("device", "create", "bystander", *new.options)
    (tmp_path / "token").write_text("token-of-press-1")
    ok("device", "credentials", "bystander", "--secret-file", tmp_path / "token", *new.options)
    before = record(new.operator, "bystander")
    refused(1, "of 3 devices 1 were not imported", "device", "import", fleet, *new.options)
    assert record(new.operator, "bystander") == before
    assert {each["name"] for each in printed("device", "list", *new.options)} == {"bystander", "press-2", "press-3"}


def test_device_export_without_credentials_has_none(old, fleet, tmp_path):
    file = tmp_path / "bare.jsonl"
    refused(2, "--force", "device", "export", fleet, *old)
    ok("device", "export", file, "--search", "press-1", *old)
    assert "credentials" not in json.loads(file.read_text())
    assert "token-of-press-1" not in file.read_text()


def test_devices_move_with_all_that_their_boards_need(old, new, fleet, tmp_path):
    assert stat.S_IMODE(fleet.stat().st_mode) == 0o600
    ok("profile", "export", "tray7", tmp_path / "tray7.json", *old)
    ok("profile", "import", tmp_path / "tray7.json", *new.options)
    created = "".join(f"created press-{number}\n" for number in (1, 2, 3))
    assert (
        ok("device", "import", fleet, *new.options)
        == f"{created}3 created, 0 changed, 0 were there as they are in the file\n"
    )
    first = record(new.operator, "press-1")
    assert (first["credentialsType"], first["credentialsId"]) == ("ACCESS_TOKEN", "token-of-press-1")
    assert (first["label"], first["type"], first["SHARED_SCOPE"]) == ("Left", "tray7", {"interval": 5})
    assert first["SERVER_SCOPE"] == {
        "floor": 3,
        "limits": {"low": 1.5, "on": True},
        "provisionState": "provisioned",
    }
    basic = json.loads(record(new.operator, "press-2")["credentialsValue"])
    assert basic == {"clientId": "a client", "userName": "a user", "password": "a password"}
    assert record(new.operator, "press-3")["credentialsType"] == "X509_CERTIFICATE"
    again = printed("device", "import", fleet, *new.options)
    assert again == {"created": 0, "changed": 0, "same": 3, "problems": [], "client_attributes": 0}
    ok("device", "export", tmp_path / "again.jsonl", "--with-credentials", *new.options)
    there = [json.loads(each) for each in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert there == [json.loads(each) for each in fleet.read_text().splitlines()]


def test_parts_of_devices_that_the_server_drops_are_named(old, new, tmp_path):
    ok("profile", "export", "tray7", tmp_path / "tray7.json", *old)
    ok("profile", "import", tmp_path / "tray7.json", *new.options)
    device = {"profile": "tray7", "customer": "Acme", "attributes": {"CLIENT_SCOPE": {"fw": "1"}}}
    text = {"attributes": {"SHARED_SCOPE": {"wifi": "00123456"}}}
    lines = [
        {"name": "a", **device},
        {"name": "b", "profile": "tray7", **text},
        {"name": "c", "profile": "tray7", **text},
    ]
    (tmp_path / "fleet.jsonl").write_text("\n".join(map(json.dumps, lines)))
    output = refused(
        1, "0 were not imported, and 3 not wholly", "device", "import", tmp_path / "fleet.jsonl", *new.options
    )
    assert "a: customer Acme: this server does not have it" in output
    assert "b and 1 more: SHARED_SCOPE wifi: this server stores it as another value" in output
    assert "a and 2 more: credentials: the file has none, and the server made others" in output
    assert "Client attributes of 1 devices were left" in output


def test_customer_of_the_same_title_gets_the_device(old, new, tmp_path, fleet):
    ok("customer", "create", "Acme", *old)
    ok("customer", "assign", "Acme", "press-1", *old)
    ok("device", "export", tmp_path / "one.jsonl", "--search", "press-1", "--with-credentials", *old)
    ok("profile", "export", "tray7", tmp_path / "tray7.json", *old)
    ok("profile", "import", tmp_path / "tray7.json", *new.options)
    ok("customer", "create", "Acme", *new.options)
    ok("device", "import", tmp_path / "one.jsonl", *new.options)
    assert record(new.operator, "press-1")["customerTitle"] == "Acme"
