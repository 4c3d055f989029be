"""bench.toml: what is in it, and what is refused."""

import re

import pytest

from bench.cli import program
from bench.cli.commands import flash
from bench.cli.options import bench_toml
from bench.contract.settings_schema import SETTINGS
from bench.errors import UsageError
from tests.support.commands import bench


@pytest.fixture
def written(tmp_path, monkeypatch):
    def write(text: str, mode: int = 0o600):
        file = tmp_path / "bench.toml"
        file.write_text(text)
        file.chmod(mode)
        monkeypatch.setenv("BENCH_TOML", str(file))

    return write


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("board = ", "bench.toml is not TOML: Invalid value"),
        ("colour = 1", "colour is not one of after, after-refusals, all, "),
        ("bord = 'x'", "bench.toml: bord is not an option; did you mean board?"),
        ("patience = 1", "patience is not one of"),  # the parameter's name
        ("wifi = 1", "wifi must be a table"),
        ("[wifi]\nname = 'a'", "wifi.name is not one of ssid, password"),
        ("[wifi]\npassword = 1", "wifi.password must be a string"),
        ("[settings]\nsession = 1", "settings.session must be a section"),
        ("[settings.wifi]\nssdi = 'a'", "bench.toml: settings.wifi has no ssdi; did you mean ssid?"),
        ("[settings.session]\ntelemetry_s = 0", "bench.toml: settings.session.telemetry_s must be 1 to 86400"),
    ],
)
def test_bench_toml_that_is_no_good_is_refused_by_name(written, text, error):
    written(text)
    with pytest.raises(UsageError, match=re.escape(error)):
        bench_toml.read(flash.flash)


def test_bench_toml_with_a_password_that_others_can_read_is_refused(written):
    written("[wifi]\npassword = 'hush hush'", 0o644)
    with pytest.raises(UsageError, match="chmod 600") as caught:
        bench_toml.read(flash.flash)
    assert "hush" not in str(caught.value)


SECRETS = {
    "provision.secret": "[settings.provision]\nsecret = 'hush hush'",
    "claim.secret": "[settings.claim]\nsecret = 'hush hush'",
    "wifi.password": "[settings.wifi]\npassword = 'hush hush'",
    "wifi.networks": "[settings.wifi]\nnetworks = [{ssid = 'open'}, {ssid = 'a', password = 'hush hush'}]",
}


def test_every_secret_setting_is_among_these():
    assert set(SECRETS) == {name for name, spec in SETTINGS.items() if spec.is_secret}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_bench_toml_with_a_secret_setting_that_others_can_read_is_refused(written, name, mode):
    written(SECRETS[name], mode)
    with pytest.raises(UsageError, match="chmod 600") as caught:
        bench_toml.read(flash.flash)
    assert f"settings.{name}" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[settings.session]\ntelemetry_s = 5", "[settings.wifi]\nnetworks = [{ssid = 'open'}]", "[wifi]\nssid = 'a'"],
)
def test_bench_toml_without_a_secret_may_be_read_by_others(written, text):
    written(text, 0o644)
    bench_toml.read(flash.flash)


def test_bench_toml_that_is_not_there_sets_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TOML", str(tmp_path / "none.toml"))
    assert bench_toml.read(flash.flash) == bench_toml.BenchToml()


def test_bench_toml_takes_options_by_the_names_that_are_typed(written):
    written("timeout = 5\nall = true\nserials = 'p-1'\nafter = 'no-reset'")
    assert bench_toml.read(flash.flash).options == {
        "patience": 5,
        "every": True,
        "serial": "p-1",
        "after": "no-reset",
    }


@pytest.mark.parametrize("text", ["'/dev/a'", "['/dev/a']"])
def test_port_is_for_every_command_that_has_one(written, text):
    written(f"port = {text}\nfiles = 'mine'\ntimeout = 5\nboard = 'b'")
    found = program._Defaults()
    assert found.get("flash") == {"port": ["/dev/a"], "files": "mine", "patience": 5, "board": "b"}
    assert found.get("deploy") == {"port": ["/dev/a"], "files": "mine", "patience": 5}
    assert found.get("read") == found.get("erase") == {"port": "/dev/a", "board": "b"}
    assert found.get("inventory") == {"port": ["/dev/a"]}
    assert found.get("monitor") == {"port": "/dev/a"}
    assert found.get("settings") == {name: {"port": "/dev/a"} for name in ("list", "get", "set")}
    assert found.get("serve") is None


def test_several_ports_are_for_commands_on_several_boards(written):
    written("port = ['/dev/a', '/dev/b']")
    found = program._Defaults()
    assert found.get("flash") == found.get("deploy") == {"port": ["/dev/a", "/dev/b"]}
    assert found.get("monitor") == found.get("read") == {}


@pytest.mark.parametrize("text", ["5", "[5]", "true"])
def test_port_that_is_not_text_is_refused(written, text):
    written(f"port = {text}")
    with pytest.raises(UsageError, match="port must be text"):
        program._Defaults().get("deploy")


@pytest.mark.parametrize(
    "command", [("deploy",), ("monitor",), ("read", "f"), ("settings", "list"), ("settings", "get", "a")]
)
def test_command_without_a_port_goes_to_the_one_in_bench_toml(written, command):
    written("port = 'rfc2217://127.0.0.1:1'")
    done = bench(*command)
    assert done.returncode == 1
    assert "rfc2217://127.0.0.1:1: nothing listens there" in done.stderr


@pytest.mark.parametrize(
    ("text", "typed", "chosen"),
    [
        ("port = 'a'", ["--all"], ([], True)),
        ("all = true", ["--port", "b"], (["b"], False)),
        ("port = 'a'\nall = true", ["--port", "b"], (["b"], False)),
        ("port = 'a'\nall = true", ["--all"], ([], True)),
        ("port = 'a'", [], (["a"], False)),
    ],
)
def test_all_or_port_on_the_command_line_counts_more_than_the_other_in_bench_toml(
    written, monkeypatch, text, typed, chosen
):
    found = []

    def lines(given, *, every, **_):
        found.append((given, every))
        raise UsageError("enough")

    monkeypatch.setattr(flash, "_lines", lines)
    written(text)
    with pytest.raises(UsageError, match="enough"):
        program.app(["flash", *typed], standalone_mode=False, default_map=program._Defaults())
    assert found == [chosen]


@pytest.mark.parametrize(("text", "typed"), [("port = 'a'\nall = true", []), ("", ["--port", "a", "--all"])])
def test_all_beside_port_in_the_same_place_is_refused(written, text, typed):
    written(text)
    with pytest.raises(UsageError, match="--all and --port exclude each other"):
        program.app(["flash", *typed], standalone_mode=False, default_map=program._Defaults())


def test_bench_toml_has_options_wifi_and_settings(written):
    written("board = 'b'\nserver-name = 'n'\n[wifi]\nssid = 's'\npassword = ''\n[settings.session]\ntelemetry_s = 5")
    found = bench_toml.read(flash.flash)
    assert found.options == {"board": "b", "server_name": "n"}
    assert (found.ssid, found.password) == ("s", "")
    assert found.settings == {"session": {"telemetry_s": 5}}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("baud = 'fast'", "'--baud': must be a whole number"),
        ("tls = 'maybe'", "'--tls': must be true or false"),
        ("files = 5", "'--files': must be a path"),
        ("timeout = 0", "'--timeout': must be at least 1"),
        ("transport = 'lora'", "'--transport': 'lora' is not one of 'mqtt', 'http', 'coap'"),
    ],
)
def test_value_that_does_not_fit_an_option_is_refused_with_the_files_name(written, tmp_path, text, error):
    written(text)
    done = bench("flash", "--port", "socket://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'bench.toml'}: ")
    assert error in done.stderr
    assert "--help" not in done.stderr
