"""Hosts, addresses and names that cannot work are found out before anything is written."""

import json

import pytest

from bench.contract import forms, settings
from bench.errors import UsageError
from tests.support import micropython

GOOD_HOSTS = ["192.168.1.10", "tb.example", "localhost", "a", "my-host.local", "x_y.lan", "tb.example.", "1und1.de"]
BAD_HOSTS = {
    "mqtt://192.168.1.10": "has a scheme",
    "https://tb.example": "has a scheme",
    "me@tb.example": "has a user name",
    "tb.example/api": "has a path",
    "tb.example:1883": "is not the name of a host",
    "::1": "is an IPv6 address",
    "fe80::1": "is an IPv6 address",
    "[::1]": "is an IPv6 address",
    "192.168.1.300": "is neither a name nor an IPv4 address",
    "192.168.1": "is neither a name nor an IPv4 address",
    "1883": "is neither a name nor an IPv4 address",
    "two words": "is not the name of a host",
    "-a.example": "is not the name of a host",
    "a..b": "is not the name of a host",
    "bücher.example": "is not the name of a host",
    "a" * 64: "is not the name of a host",
    "a." * 127 + "a": "is not the name of a host",
    "a\n": "is not the name of a host",
    " a": "is not the name of a host",
}


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_host_problem_of_a_host_is_nothing(host):
    assert forms.host_problem(host) == ""


@pytest.mark.parametrize(("host", "problem"), BAD_HOSTS.items())
def test_host_problem_of_anything_else_names_it(host, problem):
    assert forms.host_problem(host).startswith(problem)


@pytest.mark.parametrize("name", ["server.host", "server.name", "clock.ntp"])
def test_setting_with_a_host_is_checked_wherever_it_comes_from(name):
    section, key = name.split(".")
    with pytest.raises(UsageError, match=f"settings.{name} has a scheme"):
        settings.encode({section: {key: "mqtt://a"}}, host="a", port=1, key="k", secret="s")
    with pytest.raises(UsageError, match=f"^{name} has a scheme"):
        settings.parse(name, "mqtt://a")
    assert settings.parse(name, "a.example") == "a.example"


@pytest.mark.parametrize("url", ["mqtt://10.0.0.9/iot/default", "mqtts://broker.example:8883/plant/line-4/press%205"])
def test_url_of_a_broker(url):
    assert settings.parse("broker.url", url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("10.0.0.9", "mqtt://10.0.0.9", "mqtt://10.0.0.9/iot", "http://a/iot/default", "mqtt:///iot/default"),
        *("mqtt://a:0/iot/default", "mqtt://a:65536/iot/default", "mqtt://a:x/iot/default", "mqtt://u:p@a/iot/default"),
        *(
            "mqtt://a/iot/default/",
            "mqtt://a/iot//default",
            "mqtt://a/iot/+",
            "mqtt://a/iot/#",
            "mqtt://a b/iot/default",
        ),
        *("mqtt://[::1]/iot/default", "mqtt://a/iot/default\n", "mqtt://1.2/iot/default"),
    ],
)
def test_any_other_text_is_no_url_of_a_broker(url):
    with pytest.raises(UsageError, match=r"^broker\.url "):
        settings.parse("broker.url", url)


def test_key_of_packages_has_130_hex_digits():
    key = "04" + "0aF" * 42 + "0a"
    assert settings.parse("update.key", key) == key
    for wrong in (key[1:], f"{key}0", f"05{key[2:]}", f"{key[:-1]}g", f" {key}", "key.pem"):
        with pytest.raises(UsageError, match="130 hex digits"):
            settings.parse("update.key", wrong)


def test_empty_texts_are_left_to_the_settings_schema():
    for name in ("server.name", "broker.url", "clock.ntp", "wifi.address", "wifi.hostname", "update.key"):
        assert settings.parse(name, "") == ""


ADDRESSES = [
    "192.168.1.50/24 192.168.1.1 192.168.1.1",
    "10.0.0.2/30 10.0.0.1 8.8.8.8",
    "192.168.1.0/24 192.168.1.1 192.168.1.1",
    "192.168.1.255/24 192.168.1.1 192.168.1.1",
    "192.168.1.50/24 192.168.2.1 192.168.1.1",
    "192.168.1.50/24 192.168.1.50 192.168.1.1",
    "192.168.1.50 192.168.1.1 192.168.1.1",
    "192.168.1.50/31 192.168.1.51 192.168.1.1",
    "192.168.1.50/0 192.168.1.1 192.168.1.1",
    "192.168.1.50/255.255.255.0 192.168.1.1 192.168.1.1",
    "192.168.1.50/24 192.168.1.1",
    "a/24 b c",
    "fe80::2/64 fe80::1 fe80::1",
]
HOSTNAMES = ["press4", "Press-4", "a" * 32, "a" * 33, "-a", "a-", "a_b", "a b", "ä"]
NAMES = ["press", "{prefix}-{mac}", "{foo}", "{serial}", "a}", "{", "{{mac}}", " ", "{mac}{mac}"]


def test_forms_are_those_of_the_firmware():
    tried = [("wifi.address", each) for each in ADDRESSES]
    tried += [("wifi.hostname", each) for each in HOSTNAMES]
    tried += [("identity.name", each) for each in NAMES]
    output = micropython.run(
        """
import json, sys
from firstboot import identity, link_settings, settings
from firstboot.errors import SettingsError
for line in sys.stdin:
    name, value = json.loads(line)
    section, key = name.split(".")
    made = settings.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"}, section: {key: value}})
    try:
        if key == "address":
            link_settings.fixed_address(value)
        elif key == "hostname":
            link_settings.host_name(made)
        else:
            identity.name(made, "0242ac110002")
        print("good")
    except SettingsError:
        print("bad")
""",
        rom=True,
        stdin="".join(json.dumps(each) + "\n" for each in tried).encode(),
    ).split()
    found = ["bad" if forms.problem(name, value) else "good" for name, value in tried]
    assert dict(zip(tried, found, strict=True)) == dict(zip(tried, output, strict=True))
    assert {"good", "bad"} == set(found)


def test_name_problem_names_what_is_replaced():
    assert forms.name_problem("{foo}-{mac}", ("{mac}", "{serial}")) == "knows {mac} and {serial} only"
    assert forms.name_problem("{serial}", ("{mac}", "{serial}")) == ""
