"""`bench profile template`, `bench device fields`, and devices that are made from a template."""

import json

import pytest

from tests.support.commands import bench, printed, refused
from tests.support.operators import login, new_profile

PRESS = """
topics = "plant/{type}/{id}"

[fields.color]
type = "text"
default = "red"

[fields.voltage]
type = "number"
required = true

[telemetry."supply voltage"]
type = "number"
unit = "\u03a9"
"""


@pytest.fixture
def data(tmp_path):
    """Options for a data folder with a profile that has a template."""
    where = ("--data", str(tmp_path / "data"))
    (tmp_path / "press.toml").write_text(PRESS)
    assert bench("profile", "create", "press", *where).returncode == 0
    done = bench("profile", "template", "press", "--file", tmp_path / "press.toml", *where)
    assert done.returncode == 0, done.stderr
    return where


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("colour = 1", "none but these members"),
        ("[fields.a]\ntype = 1979-05-27", "type has to be text, number, boolean"),
        ('topics = "iot/+/{id}"', "not a pattern of topics"),
        ('naming = "press"', "not a pattern of names"),
    ],
)
def test_file_that_is_no_template_is_refused_in_one_line(data, tmp_path, text, message):
    (tmp_path / "wrong.toml").write_text(text)
    refused(2, message, "profile", "template", "press", "--file", tmp_path / "wrong.toml", *data)
    assert set(printed("profile", "template", "press", *data)) == {"fields", "telemetry", "topics"}


def test_device_with_values_that_do_not_fit_is_not_made(data):
    for message, assign in (
        ("requires the field voltage", ()),
        ("takes a number", ("voltage=high",)),
        ("no field colour", ("voltage=1", "colour=red")),
        ("write NAME=VALUE", ("voltage",)),
    ):
        options = [word for each in assign for word in ("--field", each)]
        refused(2, message, "device", "create", "press-1", "--profile", "press", *options, *data)
    assert printed("device", "list", *data) == []


def test_printed_template_is_a_file_again(data, tmp_path):
    shown = bench("profile", "template", "press", *data).stdout
    (tmp_path / "again.toml").write_text(shown)
    before = printed("profile", "template", "press", *data)
    assert before["telemetry"] == {"supply voltage": {"type": "number", "unit": "\u03a9"}}
    assert printed("profile", "template", "press", "--file", str(tmp_path / "again.toml"), *data) == before


def test_devices_inherit_and_have_values_of_their_own(data):
    made = printed("device", "create", "press-1", "--profile", "press", "--field", "voltage=230", *data)
    assert made["fields"] == {"color": "red", "voltage": 230}
    assert made["telemetry_types"] == {"supply voltage": "number \u03a9"}
    assert made["topics"]["commands"] == "plant/press/press-1/cmd"
    refused(2, "no field colour", "device", "fields", "press-1", "--set", "colour=blue", *data)
    found = printed("device", "fields", "press-1", "--set", "color=blue", *data)
    assert found == [
        {"name": "color", "value": "blue", "from": "device", "type": "text"},
        {"name": "voltage", "value": 230, "from": "device", "type": "number"},
    ]
    found = printed("device", "fields", "press-1", "--delete", "color", *data)
    assert found[0] == {"name": "color", "value": "red", "from": "template", "type": "text"}
    refused(1, "is required", "device", "fields", "press-1", "--delete", "voltage", *data)


def test_template_over_the_url_of_a_server(server, tmp_path, url):
    with login(server) as operator:
        new_profile(operator, name="press")
    (tmp_path / "press.toml").write_text(PRESS)
    assert printed("profile", "template", "press", *url) == {}
    assert "fields" in printed("profile", "template", "press", "--file", str(tmp_path / "press.toml"), *url)
    made = printed("device", "create", "press-1", "--profile", "press", "--field", "voltage=1", *url)
    assert made["fields"] == {"color": "red", "voltage": 1}


def test_provision_names_devices_and_gives_them_fields_as_their_template_has_it(data, tmp_path):
    (tmp_path / "press.toml").write_text('naming = "{type}_{prefix}{NNNN}"\n' + PRESS)
    printed("profile", "template", "press", "--file", str(tmp_path / "press.toml"), *data)
    output = tmp_path / "x.json"
    for message, more in (("requires the field voltage", ()), ("takes a number", ("--field", "voltage=x"))):
        refused(2, message, "provision", "press", "--output", output, *more, *data)
        assert not list(tmp_path.glob("x.json*"))
    assert (
        bench("device", "create", "press_a/0041x", "--profile", "press", "--field", "voltage=1", *data).returncode == 0
    )
    words = ("provision", "press", "--count", "2", "--prefix", "a/", "--field", "voltage=230", "--output")
    for numbers in (("0001", "0002"), ("0003", "0004")):
        assert bench(*words, output, "--force", *data).returncode == 0
        made = json.loads(output.read_text())["devices"]
        assert [each["device_id"] for each in made] == [f"press_a/{number}" for number in numbers]
        assert [each["name"] for each in made] == [f"press {number}" for number in numbers]
    assert printed("device", "show", "press_a/0004", *data)["fields"] == {"color": "red", "voltage": 230}


def test_provision_over_a_url_follows_the_template_too(server, tmp_path, url):
    with login(server) as operator:
        new_profile(operator, name="press")
    (tmp_path / "press.toml").write_text('naming = "{type}{NN}"\n' + PRESS)
    printed("profile", "template", "press", "--file", str(tmp_path / "press.toml"), *url)
    refused(2, "requires the field voltage", "provision", "press", *url)
    made = printed("provision", "press", "--field", "voltage=1", "--field", "color=blue", *url)["devices"]
    assert [each["device_id"] for each in made] == ["press01"]
    assert printed("device", "show", "press01", *url)["fields"] == {"color": "blue", "voltage": 1}


def test_export_for_mosquitto_has_the_templates_topics(data, tmp_path):
    done = bench("device", "create", "press-1", "--profile", "press", "--field", "voltage=1", *data)
    assert done.returncode == 0, done.stderr
    assert bench("profile", "create", "lathe", *data).returncode == 0
    assert bench("device", "create", "lathe-1", "--profile", "lathe", *data).returncode == 0
    printed("broker", "export", "--passwords", str(tmp_path / "p"), "--acl", str(tmp_path / "a"), *data)
    acl = (tmp_path / "a").read_text()
    assert "topic read plant/press/press-1/cmd\n" in acl
    assert "topic write iot/lathe/lathe-1/data\n" in acl
    assert "iot/press" not in acl


def test_import_has_columns_of_fields_and_sends_nothing_that_does_not_fit(data, tmp_path):
    file = tmp_path / "press.csv"

    def load(*lines):
        file.write_text("\n".join(["NAME,TYPE,FIELD.color,FIELD.voltage", *lines, ""]))
        done = bench("import", file, "--json", *data)
        return done.returncode, json.loads(done.stdout)

    code, found = load("a,press,,230", "b,press,,", "c,press,,high", "d,press,a\u0085b,1", "e,,,")
    assert code == 2
    assert [each.partition(", ")[0] for each in found["errors"]] == [
        "Line 3: its profile requires the field voltage: give it a value",
        "Line 4: the field voltage takes a number: a whole one of at most 9,007,199,254,740,992",
        "Line 5: the field color takes text of at most 1,024 characters",
        "Line 6: its profile requires the field voltage: give it a value",  # of the default profile, which is press
    ]
    assert printed("device", "list", *data) == []
    assert load("a,press,,230", "b,press,blue,1.5")[1]["created"] == ["a", "b"]
    assert load("a,press,,230", "b,press,blue,1.5")[1]["same"] == ["a", "b"]
    assert load("a,press,green,", "b,press,blue,1.5")[1]["updated"] == ["a"]
    file.write_text("NAME,FIELD.color\na,1\n")  # a known device keeps its profile
    (line,) = printed("import", file, "--dry-run", *data)["lines"]
    assert (line["effect"], line["changes"]) == ("changed", ['color "green" -> "1"'])
    file.write_text("NAME,FIELD.colour\na,1\n")
    found = bench("import", file, "--json", *data)
    assert (found.returncode, json.loads(found.stdout)["errors"]) == (
        2,
        ["Line 2: its profile has no field colour: it has color, voltage"],
    )
    assert printed("device", "list", "--field", "color=green", *data)[0]["color"] == "green"


def test_devices_are_listed_by_their_fields(data):
    for name, values in (("a", ("voltage=1",)), ("b", ("voltage=2", "color=blue")), ("c", ("voltage=2",))):
        options = [word for each in values for word in ("--field", each)]
        assert bench("device", "create", name, "--profile", "press", *options, *data).returncode == 0

    def listed(*having):
        options = [word for each in having for word in ("--field", each)]
        return [each["name"] for each in printed("device", "list", *options, *data)]

    assert [listed("color=red"), listed("voltage=2"), listed("voltage=2", "color=red"), listed("color=x")] == [
        ["a", "c"],
        ["b", "c"],
        ["c"],
        [],
    ]
    refused(2, "write NAME=VALUE", "device", "list", "--field", "color", *data)
    refused(1, "have no field field.a b", "device", "list", "--field", "a b=1", *data)


def test_templates_and_fields_move_to_another_server_and_back_to_the_byte(data, tmp_path):
    other = ("--data", str(tmp_path / "other"))
    profile, devices, table = (tmp_path / each for each in ("press.json", "fleet.jsonl", "fleet.csv"))
    for name, values in (("a", ("voltage=1.5", "color=007")), ("b", ("voltage=-2", 'color=blue, or "red"'))):
        options = [word for each in values for word in ("--field", each)]
        assert bench("device", "create", name, "--profile", "press", *options, *data).returncode == 0
    printed("profile", "export", "press", str(profile), *data)
    printed("device", "export", str(devices), "--with-credentials", *data)
    printed("device", "export", str(table), "--with-credentials", "--format", "csv", *data)
    assert table.read_text().partition("\n")[0].split(",")[6:8] == ["FIELD.color", "FIELD.voltage"]
    assert bench("profile", "create", "default", *other).returncode == 0
    assert printed("profile", "import", str(profile), *other)["not_taken"] == []
    assert printed("profile", "template", "press", *other) == printed("profile", "template", "press", *data)
    for count in ("created", "same"):
        assert printed("device", "import", str(devices), *other)[count] == 2
    assert printed("import", str(table), *other)["same"] == ["a", "b"]
    assert bench("device", "fields", "a", "--set", "color=x", *other).returncode == 0
    assert printed("import", str(table), *other)["updated"] == ["a"]
    for form, before in (("json", devices), ("csv", table)):
        again = tmp_path / f"again.{form}"
        printed("device", "export", str(again), "--with-credentials", "--format", form, *other)
        assert again.read_bytes() == before.read_bytes()


def test_values_that_do_not_fit_a_template_are_named_by_an_import(data, tmp_path):
    line = {"name": "a", "profile": "press", "fields": {"color": 1, "colour": "x", "voltage": 2}}
    (tmp_path / "fleet").write_text(json.dumps(line))
    done = bench("device", "import", tmp_path / "fleet", "--json", *data)
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)["problems"]
    lost = {each for each in problem["not_taken"] if each.startswith("field")}
    assert lost == {f"field {name}: its profile's template takes no such value here" for name in ("color", "colour")}
    assert printed("device", "show", "a", *data)["fields"] == {"color": "red", "voltage": 2}
    own = {"credentialsType": "ACCESS_TOKEN", "credentialsId": "token-of-b"}
    (tmp_path / "fleet").write_text(json.dumps({"name": "b", "profile": "press", "credentials": own}))
    assert printed("device", "import", str(tmp_path / "fleet"), *data)["created"] == 1  # it provisioned itself there
    assert printed("device", "show", "b", *data)["fields"] == {"color": "red", "voltage": None}
    (tmp_path / "fleet").write_text(json.dumps({**line, "fields": []}))
    refused(2, "line 1 holds no device", "device", "import", tmp_path / "fleet", *data)
    (tmp_path / "x.json").write_text(json.dumps({"name": "x", "profileData": {}, "template": {"topics": "#"}}))
    refused(2, "not a pattern of topics", "profile", "import", tmp_path / "x.json", *data)
