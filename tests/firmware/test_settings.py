"""The settings: what is refused, with which words, and never with the value."""

import json

import pytest

from tests.support import micropython

GOOD = {"server": {"host": "10.0.0.1"}, "provision": {"key": "the key", "secret": "the secret"}}

BAD = {
    "no_object": ([], "object of sections"),
    "section_no_object": ({**GOOD, "wifi": "home"}, "settings section wifi must be an object"),
    "unknown_section": ({**GOOD, "wlan": {"ssid": "home"}}, "unknown setting wlan.ssid"),
    "unknown_key": ({**GOOD, "server": {"host": "h", "prot": 1}}, "unknown setting server.prot"),
    "host_missing": ({**GOOD, "server": {}}, "server.host is missing"),
    "host_empty": ({**GOOD, "server": {"host": ""}}, "server.host is empty"),
    "key_null": ({**GOOD, "provision": {"key": None, "secret": "x"}}, "provision.key must be text"),
    "key_number": ({**GOOD, "provision": {"key": 5, "secret": "x"}}, "provision.key must be text"),
    "port_text": ({**GOOD, "server": {"host": "h", "port": "1883"}}, "server.port must be a whole number"),
    "port_bool": ({**GOOD, "server": {"host": "h", "port": True}}, "server.port must be a whole number"),
    "port_float": ({**GOOD, "server": {"host": "h", "port": 18.5}}, "server.port must be a whole number"),
    "port_negative": ({**GOOD, "server": {"host": "h", "port": -1}}, "server.port is too small or too large"),
    "tls_number": ({**GOOD, "server": {"host": "h", "tls": 1}}, "server.tls must be true or false"),
    "secret_missing": ({**GOOD, "provision": {"key": "the key"}}, "provision.key or provision.secret is missing"),
    "transport": (
        {**GOOD, "provision": {**GOOD["provision"], "transport": "lorawan"}},
        "provision.transport must be one of: mqtt, http, coap",
    ),
    "certificate_in_clear": (
        {**GOOD, "provision": {**GOOD["provision"], "credentials": "X509_CERTIFICATE"}},
        "set server.tls",
    ),
    "claimed_password": (
        {**GOOD, "provision": {**GOOD["provision"], "made_by": "claim", "credentials": "MQTT_BASIC"}},
        "is for ACCESS_TOKEN",
    ),
    "networks_text": ({**GOOD, "wifi": {"networks": "home"}}, "wifi.networks must be a list"),
    "networks_without_ssid": ({**GOOD, "wifi": {"networks": [{"password": "the secret"}]}}, "wifi.networks must be"),
    "networks_number": ({**GOOD, "wifi": {"networks": [{"ssid": 5}]}}, "wifi.networks must be"),
    "networks_unknown_key": ({**GOOD, "wifi": {"networks": [{"ssid": "a", "pass": "b"}]}}, "wifi.networks must be"),
    "port_large": ({**GOOD, "server": {"host": "h", "port": 65536}}, "server.port is too small or too large"),
    "keepalive_one": ({**GOOD, "session": {"keepalive_s": 1}}, "session.keepalive_s is too small or too large"),
    "watchdog_short": ({**GOOD, "board": {"watchdog_s": 29}}, "must be 0 (off), or 30 and more"),
    "made_by": ({**GOOD, "provision": {**GOOD["provision"], "made_by": "me"}}, "provision.made_by"),
}

CHECK = """
import json, sys
from firstboot import settings
from firstboot.errors import SettingsError
try:
    settings.check(json.loads(sys.argv[1]))
except SettingsError as error:
    print(error)
"""


@pytest.mark.parametrize(("sections", "output"), BAD.values(), ids=BAD.keys())
def test_check_refuses(sections, output):
    message = micropython.run(CHECK, arguments=(json.dumps(sections),))
    assert output in message
    assert "the secret" not in message


def test_check_fills_in_defaults():
    output = micropython.run(
        """
import json, sys
from firstboot import settings
found = settings.check(json.loads(sys.argv[1]))
print(found.text("server.host"), found.port(), found.text("provision.made_by"))
""",
        arguments=(json.dumps(GOOD),),
    )
    assert output.split() == ["10.0.0.1", "1883", "device"]


@pytest.mark.parametrize(
    ("text", "output"),
    [(None, "is missing"), (b"{", "is not JSON"), (b"", "is not JSON"), (b'{"wifi": "\xfc"}', "is not UTF-8")],
)
def test_load_refuses(tmp_path, text, output):
    if text is not None:
        (tmp_path / "settings.json").write_bytes(text)
    message = micropython.run(
        """
from firstboot import settings
from firstboot.errors import SettingsError
try:
    settings.load("settings.json")
except SettingsError as error:
    print(error)
""",
        cwd=tmp_path,
    )
    assert output in message
