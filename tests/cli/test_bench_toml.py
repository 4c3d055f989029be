"""bench.toml: what is in it, and what is refused."""

import re

import pytest

from bench.cli.commands import flash
from bench.cli.options import bench_toml
from bench.errors import UsageError


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
        ("board = ", "Invalid value"),
        ("colour = 1", "colour is not one of after, after-refusals, all, "),
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


def test_bench_toml_has_options_wifi_and_settings(written):
    written("board = 'b'\nserver-name = 'n'\n[wifi]\nssid = 's'\npassword = ''\n[settings.session]\ntelemetry_s = 5")
    found = bench_toml.read(flash.flash)
    assert found.options == {"board": "b", "server_name": "n"}
    assert (found.ssid, found.password) == ("s", "")
    assert found.settings == {"session": {"telemetry_s": 5}}
