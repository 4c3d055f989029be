"""Settings are the same in the contract, in the firmware and on the page; the host refuses what a board would."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import boards, paths
from bench.contract import settings
from bench.contract.settings_schema import SETTINGS
from bench.errors import UsageError
from bench.flash.device_config import Transport, wired
from tests.support import micropython

PAGE = (paths.CHECKOUT / "docs" / "settings.md").read_text()
BASIS = {"host": "10.0.0.1", "port": 1883, "key": "the key", "secret": "the secret"}
GOOD = {"server": {"host": "10.0.0.1"}, "provision": {"key": "the key", "secret": "the secret"}}

SCHEMA = """
import json
from firstboot import settings_checks as settings
print(json.dumps({
    name: {
        "kind": kind.__name__,
        "default": default,
        "least": least,
        "most": settings._MOST.get(name),
        "choices": settings._CHOICES.get(name, ()),
        "is_secret": name in settings.SECRETS,
    }
    for name, (kind, default, least) in settings._KNOWN.items()
}))
"""
CHECKS = """
import json, sys
from firstboot import settings_checks as settings
from firstboot.errors import SettingsError
for line in sys.stdin:
    try:
        settings.check(json.loads(line))
        print("good")
    except SettingsError:
        print("bad")
"""


def values(name):
    """Values at and around what a setting may be, and of every other type."""
    spec = SETTINGS[name]
    yield from (None, True, False, 1.5, -2, 0, 1, "", "x", [], {}, spec.default, *spec.choices)
    yield from (spec.least - 1, spec.least, 1 << 16)
    if spec.most is not None:
        yield from (spec.most, spec.most + 1)
    for network in ({"ssid": "a"}, {"ssid": ""}, {"ssid": 5}, {"password": "p"}, {"ssid": "a", "pass": "p"}, "a", {}):
        yield [network]
    yield [{"ssid": "a", "password": "p"}, {"ssid": "b"}]


def variants():
    """Settings with one of these values each, and some that do not fit each other."""
    for name in SETTINGS:
        section, key = name.split(".")
        for value in values(name):
            yield settings.merge(GOOD, {section: {key: value}})
    tls, certificate = {"server": {"tls": True}}, {"provision": {"credentials": "X509_CERTIFICATE"}}
    from_flash, no_key = {"provision": {"made_by": "flash"}}, {"provision": {"key": ""}}
    for layers in (
        (tls, certificate),
        (tls, certificate, from_flash),
        (tls, certificate, from_flash, no_key),
        (no_key,),
    ):
        yield settings.merge(GOOD, *layers)
    yield from ({"board": {"watchdog_s": each}} | GOOD for each in (1, 29, 30, 3600))
    yield from (GOOD | {"wlan": {"ssid": "a"}}, GOOD | {"wlan": {}}, GOOD | {"wifi": "home"}, {"provision": {}})


def is_good(sections):
    try:
        settings.check(sections)
        settings.check_together(sections)
    except UsageError as error:
        assert "the secret" not in str(error)
        return False
    return True


def test_firmware_has_the_settings_of_the_contract():
    found = json.loads(micropython.run(SCHEMA))
    known = {
        name: {
            "kind": spec.kind.__name__,
            "default": spec.default,
            "least": spec.least,
            "most": spec.most,
            "choices": list(spec.choices),
            "is_secret": spec.is_secret,
        }
        for name, spec in SETTINGS.items()
    }
    assert found == known


def test_host_refuses_what_the_firmware_refuses_and_nothing_else():
    tried = list(variants())
    output = micropython.run(CHECKS, stdin="".join(json.dumps(each) + "\n" for each in tried).encode()).split()
    assert [each for each, word in zip(tried, output, strict=True) if is_good(each) != (word == "good")] == []
    assert 150 < output.count("good") < len(output) - 150


def test_page_lists_the_settings_of_the_contract():
    rows = [
        f"| `{name}` | {allowed(spec)} | {'required' if spec.default is None else f'`{json.dumps(spec.default)}`'} | "
        f"{spec.meaning} |"
        for name, spec in SETTINGS.items()
    ]
    table = PAGE.partition("| setting | values | default | meaning |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows
    secrets = [f"`{name}`" for name, spec in SETTINGS.items() if spec.is_secret]
    assert f"{', '.join(secrets[:-1])} and {secrets[-1]} are secrets" in PAGE


def allowed(spec):
    """The range of a setting, as the page has it."""
    if spec.choices:
        return ", ".join(f"`{each}`" for each in spec.choices)
    return {str: "text", int: spec.range, bool: "`true`, `false`", list: "list"}[spec.kind]


def test_transports_are_those_of_the_contract():
    assert tuple(Transport) == SETTINGS["provision.transport"].choices


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"wifi": {"ssdi": "a"}}, "settings.wifi has no ssdi; did you mean ssid?"),
        ({"session": {"ntp": "a"}}, "settings.session has no ntp; did you mean clock.ntp?"),
        ({"wlan": {"ssid": "a"}}, "settings.wlan has no ssid; did you mean wifi.ssid?"),
        ({"sesion": {"telemetry": 5}}, "settings.sesion has no telemetry; did you mean session.telemetry_s?"),
        ({"claim": {"xyzzy": "a"}}, "settings.claim has no xyzzy; it has secret, duration_s, every_s"),
        (
            {"xyzzy": {"xyzzy": "a"}},
            "settings.xyzzy has no xyzzy; the sections are server, broker, provision, identity, wifi, ethernet, ",
        ),
        ({"wifi": {"a\nb": 1}}, r"settings.wifi has no a\nb; it has ssid, password, networks, timeout_s, tries, "),
        ({"wifi": "the secret"}, "settings.wifi must be a section"),
        ({"wifi": {"ssid": 5}}, "settings.wifi.ssid must be text"),
        ({"server": {"host": ""}}, "settings.server.host is empty"),
        ({"server": {"tls": 1}}, "settings.server.tls must be true or false"),
        ({"session": {"keepalive_s": 1}}, "settings.session.keepalive_s must be 2 to 65535"),
        ({"ethernet": {"mdc": -1}}, "settings.ethernet.mdc must be 0 or more"),
        ({"wifi": {"tries": "2"}}, "settings.wifi.tries must be a whole number"),
        ({"wifi": {"networks": ["the secret"]}}, 'settings.wifi.networks must be a list of {"ssid": ...'),
        ({"provision": {"transport": "pigeon"}}, "settings.provision.transport must be one of mqtt, http, coap"),
    ],
)
def test_check_names_the_mistake_and_the_cure(sections, message):
    with pytest.raises(UsageError) as caught:
        settings.check(sections)
    assert str(caught.value).startswith(message)
    assert "the secret" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 2


def test_check_needs_nothing_to_be_there():
    settings.check({})
    settings.check({"server": {}, "wifi": {"networks": [{"ssid": "a", "password": "b"}]}})


@pytest.mark.parametrize("board", boards.names())
def test_what_follows_from_a_board_are_settings(board):
    settings.check(wired(boards.load(board)))


@given(
    st.dictionaries(
        st.text(), st.dictionaries(st.text(), st.none() | st.text() | st.integers(), max_size=3), max_size=3
    )
)
def test_check_of_anything_raises_nothing_else(sections):
    try:
        settings.check(sections)
    except UsageError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("wifi.ssid", "5", "5"), ("wifi.tries", "5", 5), ("server.tls", "true", True), ("wifi.networks", "[]", [])],
)
def test_parse_gives_what_was_typed(name, text, value):
    assert settings.parse(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wifi.ssdi", "a", "there is no setting wifi.ssdi; did you mean wifi.ssid?"),
        ("ssid", "a", "there is no setting ssid; did you mean wifi.ssid?"),
        ("wifi.tries", "many", "wifi.tries must be a whole number"),
        ("server.tls", "True", "server.tls must be true or false"),
        ("server.host", "", "server.host is empty"),
    ],
)
def test_parse_refuses(name, text, message):
    with pytest.raises(UsageError) as caught:
        settings.parse(name, text)
    assert str(caught.value) == message


def test_encode_puts_the_last_layer_on_top():
    layers = ({"wifi": {"ssid": "a", "tries": 3}}, {"wifi": {"ssid": "b"}, "server": {"port": 5}})
    found = json.loads(settings.encode(*layers, **BASIS))
    assert found["wifi"] == {"ssid": "b", "password": settings.VIRTUAL_WIFI["password"], "tries": 3}
    assert found["server"] == {"host": "10.0.0.1", "port": 5}
    assert found["provision"] == {"key": "the key", "secret": "the secret"}


@pytest.mark.parametrize(
    ("basis", "layer", "message"),
    [
        ({"host": ""}, {}, "settings.server.host is empty"),
        ({"secret": ""}, {}, "settings.provision.key or settings.provision.secret is missing"),
        ({}, {"wifi": {"pasword": "x"}}, "settings.wifi has no pasword; did you mean password?"),
        ({}, {"board": {"watchdog_s": 29}}, "settings.board.watchdog_s must be 0 (off), or 30 and more"),
        (
            {},
            {"provision": {"credentials": "X509_CERTIFICATE"}},
            "settings.provision.credentials: a certificate logs in over TLS only: set settings.server.tls",
        ),
        (
            {},
            {"provision": {"made_by": "claim", "credentials": "MQTT_BASIC"}},
            'settings.provision.made_by: "claim" is for ACCESS_TOKEN',
        ),
    ],
)
def test_encode_refuses_what_no_board_would_accept(basis, layer, message):
    with pytest.raises(UsageError) as caught:
        settings.encode(layer, **{**BASIS, **basis})
    assert str(caught.value) == message
