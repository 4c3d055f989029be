"""Devices that are exported, imported into an empty server, and exported again: the same bytes, whatever they hold."""

import json
import stat
from types import SimpleNamespace

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.support.certificates import make
from tests.support.commands import bench, printed, refused
from tests.support.operators import login, ok, options
from tests.support.servers import on_both_databases

CERTIFICATE = make("press-3").pem.decode()
CREDENTIALS = ("ACCESS_TOKEN_", "X509", "MQTT_C", "MQTT_U", "MQTT_CU", "MQTT_UP", "MQTT_CUP")
HOSTILE = (
    'a,b;"c"',
    "=1+1",
    "@SUM(A1)",
    "two\nlines",
    "carriage\rreturn",
    "\u2028",
    "ß\u0301\U0001f525",
    "'",
    "\\",
    "x\x01",
)
ANY = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


def fleets(text, booleans):
    """Return lists of devices whose texts are these; whether they are deactivated, too, is of `booleans`."""
    values = st.one_of(
        text, st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False, allow_infinity=False),
        st.dictionaries(text, st.lists(st.integers(-9, 9), max_size=2), max_size=2),
    )  # fmt: skip
    attributes = st.dictionaries(st.one_of(text, st.sampled_from(["NAME", "label", "x y"])), values, max_size=2)
    device = {
        "name": text, "label": st.none() | text, "serial_number": text, "credentials": st.sampled_from(CREDENTIALS),
        "info": st.none() | st.fixed_dictionaries({"gateway": st.booleans(), "description": text}),
        "customer": st.booleans(), "deactivated": booleans, "SERVER_SCOPE": attributes, "SHARED_SCOPE": attributes,
    }  # fmt: skip
    return st.lists(st.fixed_dictionaries(device), min_size=1, max_size=12)


ROUND_TRIPS = hypothesis.settings(
    max_examples=6,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),  # shrinking takes minutes with these servers
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)


@pytest.fixture
def pair(start_server, database, request, tmp_path):
    """Two servers on databases of their own, which both have the profile `tray7` and the customer `Acme`."""
    made = []
    for name in ("old", "new"):
        where = request.getfixturevalue("cluster").database() if database else None
        running = start_server(name, database=where)
        (tmp_path / name / "account").mkdir()
        operator = login(running)
        customer = ok(operator.post("/api/customer", json={"title": "Acme"}))["id"]["id"]
        ok(operator.post("/api/deviceProfile", json=PROFILE))
        account = options(running, tmp_path / name / "account")
        made.append(SimpleNamespace(operator=operator, options=account, customer=customer))
    yield made
    for each in made:
        each.operator.close()


PROFILE = {
    "name": "tray7", "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": "DISABLED",
    "profileData": {
        "transportConfiguration": {"type": "DEFAULT"}, "provisionConfiguration": {"type": "DISABLED"},
    },
}  # fmt: skip


def emptied(server):
    for each in ok(server.operator.get("/api/tenant/devices?pageSize=100&page=0"))["data"]:
        ok(server.operator.delete(f"/api/device/{each['id']['id']}"))


def credentials(kind, number, text):
    if kind == "X509":
        return {"credentialsType": "X509_CERTIFICATE", "credentialsValue": CERTIFICATE.replace("A", "B", number)}
    if kind.startswith("MQTT"):
        letters = kind.removeprefix("MQTT_")
        parts = {"C": "clientId", "U": "userName", "P": "password"}
        value = {name: f"{letter}{number}{text}" for letter, name in parts.items() if letter in letters}
        return {"credentialsType": "MQTT_BASIC", "credentialsValue": json.dumps(value)}
    return {"credentialsType": "ACCESS_TOKEN", "credentialsId": f"token {number}{text}"}


def store(server, number, device):
    """Make a device, as far as the server takes it."""
    form = {"name": device["name"], "label": device["label"], "type": "tray7", "additionalInfo": device["info"]}
    own = credentials(device["credentials"], number, "".join(each for each in device["name"] if each.isprintable()))
    answer = server.operator.post("/api/device-with-credentials", json={"device": form, "credentials": own})
    if answer.status_code != 200:
        return
    device_id = answer.json()["id"]["id"]
    for scope in ("SERVER_SCOPE", "SHARED_SCOPE"):
        for key, value in device[scope].items():
            server.operator.post(f"/api/plugins/telemetry/DEVICE/{device_id}/attributes/{scope}", json={key: value})
    life = f"/api/lifecycle/device/{device_id}"
    server.operator.post(f"{life}/serialNumber", json={"serialNumber": device["serial_number"]})
    if device["customer"]:
        ok(server.operator.post(f"/api/customer/{server.customer}/device/{device_id}"))
    if device["deactivated"]:
        ok(server.operator.post(f"{life}/deactivate"))


def exported(server, file, *arguments):
    done = bench("device", "export", file, "--with-credentials", "--force", "--json", *arguments, *server.options)
    return json.loads(done.stdout), file.read_bytes()


@on_both_databases
def test_json_round_trip_gives_the_same_bytes_and_again_changes_nothing(pair, tmp_path):
    old, new = pair
    files = tmp_path / "old.jsonl", tmp_path / "new.jsonl"

    @ROUND_TRIPS
    @hypothesis.given(fleets(st.sampled_from(HOSTILE) | ANY, st.booleans()))
    def check(devices):
        emptied(old)
        emptied(new)
        for number, device in enumerate(devices):
            store(old, number, device)
        result, before = exported(old, files[0])
        assert result["devices"] == ok(old.operator.get("/api/tenant/devices?pageSize=1&page=0"))["totalElements"]
        if not result["devices"]:
            return
        counts = {"problems": [], "client_attributes": 0}
        first = printed("device", "import", files[0], *new.options)
        assert first == {"created": result["devices"], "changed": 0, "same": 0, **counts}
        assert exported(new, files[1]) == ({**result, "file": str(files[1])}, before)
        again = printed("device", "import", files[0], *new.options)
        assert again == {"created": 0, "changed": 0, "same": result["devices"], **counts}

    check()


@on_both_databases
def test_csv_round_trip_gives_the_same_bytes_and_names_what_it_cannot_hold(pair, tmp_path):
    old, new = pair
    files = tmp_path / "old.csv", tmp_path / "new.csv"
    held = 0

    @ROUND_TRIPS
    @hypothesis.given(fleets(st.sampled_from(HOSTILE) | PLAIN, st.sampled_from([False] * 9 + [True])))
    def check(devices):
        nonlocal held
        emptied(old)
        emptied(new)
        for number, device in enumerate(devices):
            store(old, number, device)
        result, before = exported(old, files[0], "--format", "csv")
        names = {each["name"] for each in ok(old.operator.get("/api/tenant/devices?pageSize=100&page=0"))["data"]}
        assert result["devices"] == len(names - set(result["left_out"]))
        held += result["devices"]
        if not result["devices"]:
            return
        first = printed("import", files[0], *new.options)
        assert (sorted(first["created"]), first["errors"]) == (sorted(names - set(result["left_out"])), [])
        again = printed("import", files[0], *new.options)
        assert (again["created"], again["updated"]) == ([], [])
        assert exported(new, files[1], "--format", "csv")[1] == before

    check()
    assert held >= 3  # the others are named, but none of them shows anything


def done(*arguments):
    found = bench(*arguments)
    assert found.returncode == 0, found.stderr


def test_export_is_for_its_owner_alone_and_has_only_what_is_wanted(server, url, tmp_path):
    for name, profile in (("a", "tray7"), ("b", "tray8")):
        done("profile", "create", profile, *url)
        done("device", "create", name, "--profile", profile, "--serial", f"SN-{name}", *url)
    for form in ("json", "csv"):
        file = tmp_path / f"fleet.{form}"
        shown = printed("device", "export", file, "--profile", "tray8", "--format", form, *url)
        assert shown == {"file": str(file), "devices": 1, "left_out": {}, "has_credentials": False}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        text = file.read_text()
        assert "SN-b" in text
        assert "SN-a" not in text
        assert "credentials" not in text.lower()
        assert "TOKEN" not in text
    refused(1, "no profile tray9", "device", "export", tmp_path / "none", "--profile", "tray9", *url)
    assert not (tmp_path / "none").exists()


def test_csv_names_the_devices_that_it_cannot_hold(url, tmp_path):
    reasons = {
        "off": ((), "it is deactivated"),
        "code": (("--set", 'code="1e5"'), "code would be read as another value"),
        "type": (("--set", "type=x"), "type cannot be the name of a column"),
    }
    for name, (values, _) in reasons.items():
        done("device", "create", name, *url)
        if values:
            done("device", "attributes", name, "--scope", "SERVER_SCOPE", *values, *url)
    done("device", "deactivate", "off", *url)
    done("device", "create", "plain", *url)
    file = tmp_path / "fleet.csv"
    command = ("device", "export", file, "--format", "csv", "--json", *url)
    output = bench(*command)
    assert (output.returncode, output.stderr.count("\n")) == (1, 1)
    assert "fleet.csv does not have 3 devices, which CSV cannot hold: export them as JSON" in output.stderr
    assert json.loads(output.stdout)["left_out"] == {name: reason for name, (_, reason) in reasons.items()}
    assert file.read_text() == ("NAME,TYPE,LABEL,SERIAL_NUMBER,IS_GATEWAY,DESCRIPTION\nplain,default,,,,\n")
    refused(2, "is a table of devices: bench import reads it", "device", "import", file, *url)


def test_decommissioned_device_is_left_out(url, tmp_path):
    done("device", "create", "gone", *url)
    done("device", "decommission", "gone", "--yes", *url)
    for form in ("json", "csv"):
        shown = printed("device", "export", tmp_path / form, "--format", form, *url)
        assert (shown["devices"], shown["left_out"]) == (0, {"gone": "it is decommissioned"})


def test_import_brings_a_device_up_to_date_and_lets_none_in_again(url, tmp_path):
    done("device", "create", "press", "--label", "new", "--serial", "SN-1", *url)
    done("device", "export", tmp_path / "fleet", *url)
    done("device", "serial", "press", "SN-2", *url)
    counts = {"created": 0, "problems": [], "client_attributes": 0}
    for changed in (1, 0):
        shown = printed("device", "import", tmp_path / "fleet", *url)
        assert shown == {**counts, "changed": changed, "same": 1 - changed}
    assert printed("device", "show", "press", *url)["serial_number"] == "SN-1"
    done("device", "deactivate", "press", *url)
    output = bench("device", "import", tmp_path / "fleet", *url)
    assert output.returncode == 1
    assert "press: active: it is deactivated here, and stays so" in output.stdout
    assert printed("device", "show", "press", *url)["access"] == "deactivated"


@pytest.mark.parametrize("line", ['"access": "decommissioned"', '"access": 5', '"serialNumber": 5'])
def test_line_with_a_record_that_cannot_be_is_refused(url, tmp_path, line):
    (tmp_path / "fleet").write_text(f'{{"name": "a", "profile": "default", {line}}}')
    refused(2, "line 1 holds no device", "device", "import", tmp_path / "fleet", *url)
