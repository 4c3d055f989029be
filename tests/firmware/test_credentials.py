"""The kinds of credentials: made, requested, read from an answer, and their limits. More in test_decisions.py."""

import base64
import json

import pytest

from tests.support import micropython

KINDS = {
    "token": ({"type": "ACCESS_TOKEN", "token": "t"}, {"credentialsType": "ACCESS_TOKEN", "token": "t"}),
    "basic": (
        {"type": "MQTT_BASIC", "clientId": "c", "userName": "u", "password": "p"},
        {"credentialsType": "MQTT_BASIC", "clientId": "c", "username": "u", "password": "p"},
    ),
    "certificate": (
        {"type": "X509_CERTIFICATE", "certificate": "AAAA", "key": "BBBB"},
        {"credentialsType": "X509_CERTIFICATE", "hash": "AAAA"},
    ),
}


def base64_of(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(("credential", "fields"), KINDS.values(), ids=KINDS)
def test_request_never_has_more_than_the_server_needs(credential, fields):
    output = micropython.run(
        f"import json\nfrom firstboot import credentials\nprint(json.dumps(credentials.request_fields({credential!r})))"
    )
    assert json.loads(output) == fields


def test_made_credentials_are_whole():
    output = micropython.run("""
import json
from firstboot import credentials
print(json.dumps([credentials.make(kind, "press4") for kind in ("ACCESS_TOKEN", "MQTT_BASIC")]))
""")
    token, basic = json.loads(output)
    assert token == {"type": "ACCESS_TOKEN", "token": token["token"]}
    assert basic == {"type": "MQTT_BASIC", "clientId": "press4", "userName": "press4", "password": basic["password"]}
    assert len(bytes.fromhex(token["token"])) == len(bytes.fromhex(basic["password"])) == 16


def test_certificate_is_made_with_its_key_while_the_watchdog_is_fed():
    """The curve and the DER are test_p256.py's and test_certificate.py's; here are stand-ins for both."""
    output = micropython.run("""
import json, sys, time
from firstboot import board, credentials, p256, x509
now = [1000]
class Time:
    ticks_diff = staticmethod(time.ticks_diff)
    ticks_ms = staticmethod(lambda: now[0])
sys.modules["time"] = Time
def public(key, feed):
    assert key == 5 and feed == board.idle
    now[0] += 70
    return "public"
def self_signed(name, key, public, feed):
    assert (name, key, public) == ("press4", 5, "public") and feed == board.idle
    now[0] += 7
    return b"certificate" * 9
def private_key(key, public):
    assert (key, public) == (5, "public")
    return b"key"
p256.make_key, p256.public, x509.self_signed, x509.private_key = lambda: 5, public, self_signed, private_key
print(json.dumps(credentials.make("X509_CERTIFICATE", "press4")))
""")
    event, made = map(json.loads, output.splitlines())
    assert event.items() >= {"event": "key_made", "took_ms": 77}.items()
    assert made == {"type": "X509_CERTIFICATE", "certificate": base64_of(b"certificate" * 9), "key": "a2V5"}


@pytest.mark.parametrize("missing", ["/device.crt", "/device.key"])
def test_flash_without_certificate_or_key_names_what_is_missing(missing):
    output = micropython.run(f"""
import io
from firstboot import credentials, from_flash
from firstboot.errors import SettingsError
def open_(path, mode):
    if path == {missing!r}:
        raise OSError(2)
    return io.BytesIO(b"x")
from_flash.open = open_
try:
    from_flash.read("X509_CERTIFICATE")
except SettingsError as error:
    print(error)
""")
    assert "/device.crt" in output
    assert "/device.key" in output


@pytest.mark.parametrize("text", ["", "{"])
def test_flash_without_a_token_names_what_is_missing(text):
    output = micropython.run(f"""
import io
from firstboot import from_flash
from firstboot.errors import SettingsError
from_flash.open = lambda path, mode: io.BytesIO({text.encode()!r})
try:
    from_flash.read("ACCESS_TOKEN")
except SettingsError as error:
    print(error)
""")
    assert output == "/device.json is missing: flash it, or let the device make its own\n"


def test_flash_has_a_token_as_the_vault_has_it():
    output = micropython.run("""
import io, json
from firstboot import from_flash
from_flash.open = lambda path, mode: io.BytesIO(b'{"type": "ACCESS_TOKEN", "token": "t"}')
print(json.dumps(from_flash.read("ACCESS_TOKEN")))
""")
    assert json.loads(output) == {"type": "ACCESS_TOKEN", "token": "t"}


def test_flash_has_certificate_and_key_as_der():
    output = micropython.run("""
import io, json
from firstboot import credentials, from_flash
FILES = {"/device.crt": b"\\x30\\x82" * 60, "/device.key": b"\\x30\\x00"}
def open_(path, mode):
    assert mode == "rb"
    return io.BytesIO(FILES[path])
from_flash.open = open_
print(json.dumps(from_flash.read("X509_CERTIFICATE")))
""")
    assert json.loads(output) == {"type": "X509_CERTIFICATE", "certificate": base64_of(b"\x30\x82" * 60), "key": "MAA="}


def test_flash_with_an_empty_certificate_has_one():
    output = micropython.run("""
import io, json
from firstboot import credentials, from_flash
from_flash.open = lambda path, mode: io.BytesIO(b"")
print(json.dumps(from_flash.read("X509_CERTIFICATE")))
""")
    assert json.loads(output) == {"type": "X509_CERTIFICATE", "certificate": "", "key": ""}


def test_flash_has_the_certificates_above_the_devices_own():
    leaf, above = b"\x30\x03abc", b"\x30\x02de\x30\x01f"
    output = micropython.run(f"""
import io, json
from firstboot import credentials, from_flash
FILES = {{"/device.crt": {leaf + above!r}, "/device.key": b"\\x30\\x00"}}
from_flash.open = lambda path, mode: io.BytesIO(FILES[path])
made = from_flash.read("X509_CERTIFICATE")
print(json.dumps(made))
print(json.dumps(credentials.request_fields(made)))
print(credentials.login(made, "press4") == ("press4", "", "", ({leaf + above!r}, b"\\x30\\x00")))
""").splitlines()
    made = {"type": "X509_CERTIFICATE", "certificate": base64_of(leaf), "chain": base64_of(above), "key": "MAA="}
    assert json.loads(output[0]) == made
    assert json.loads(output[1]) == {"credentialsType": "X509_CERTIFICATE", "hash": base64_of(leaf)}
    assert output[2] == "True"


def taken(answers, held=()):
    """Return the credential of each of these answers, or None, by one MicroPython."""
    output = micropython.run(f"""
import json
from firstboot import credentials
from firstboot.errors import ProtocolError
for answer in {answers!r}:
    try:
        credential = credentials.from_answer(answer, {list(held)!r})
        assert credential["type"] == answer["credentialsType"]
        print(json.dumps(credential))
    except ProtocolError as error:
        assert str(error) and "s3cret" not in str(error)
        print("null")
""")
    return [json.loads(line) for line in output.splitlines()]


def test_text_of_an_answer_is_limited():
    def token(value):
        return {"credentialsType": "ACCESS_TOKEN", "credentialsValue": value}

    sizes = (0, 1, 511, 512, 513, 5000)
    found = taken([token("x" * size) for size in sizes] + [token(["x"]), token(None), token(1)])
    assert [each and len(each["token"]) for each in found] == [None, 1, 511, 512, None, None, None, None, None]


def test_credential_that_json_makes_long_is_refused():
    # 37 bytes around the token, and six for each control character: 2,047, 2,048 and 2,049 bytes in all
    tokens = ["\x01" * 335 + "x" * more for more in range(3)]
    found = taken([{"credentialsType": "ACCESS_TOKEN", "credentialsValue": token} for token in tokens])
    assert [each and each["token"] for each in found] == [*tokens[:2], None]


@pytest.mark.parametrize("part", ["clientId", "userName", "password"])
def test_every_part_of_basic_credentials_is_limited(part):
    def basic(value):
        return {
            "credentialsType": "MQTT_BASIC",
            "credentialsValue": {"clientId": "c", "userName": "u", "password": "p", part: value},
        }

    longest, longer, other, none, absent = taken(
        [basic("x" * 512), basic("x" * 513), basic(["s3cret"]), basic(None), basic("")]
    )
    assert longest == {"type": "MQTT_BASIC", "clientId": "c", "userName": "u", "password": "p", part: "x" * 512}
    assert longer is None
    assert other is None
    assert none == absent == {"type": "MQTT_BASIC", "clientId": "c", "userName": "u", "password": "p", part: ""}


def test_basic_credentials_that_name_nobody_are_of_no_use():
    def basic(value):
        return {"credentialsType": "MQTT_BASIC", "credentialsValue": value}

    found = taken(
        [basic(each) for each in ({}, {"password": "p"}, {"clientId": "c"}, {"userName": "u"}, "s3cret", None)]
    )
    assert [each and each["clientId"] + each["userName"] for each in found] == [None, None, "c", "u", None, None]


def test_certificate_of_an_answer_is_the_one_whose_key_is_held():
    other = {"type": "X509_CERTIFICATE", "certificate": "CCCC", "key": "DDDD"}
    ours = {"type": "X509_CERTIFICATE", "certificate": "AAAA", "key": "BBBB"}
    held = ({"type": "ACCESS_TOKEN", "token": "AAAA"}, other, ours)

    def certificate(value):
        return {"credentialsType": "X509_CERTIFICATE", "credentialsValue": value}

    assert taken([certificate("AAAA"), certificate("CCCC")], held) == [ours, other]
    assert taken([certificate("s3cret"), certificate(""), certificate("BBBB")], held) == [None, None, None]
    assert taken([{"credentialsType": "NONE", "credentialsValue": "AAAA"}, {"credentialsValue": "AAAA"}], held) == [
        None,
        None,
    ]


def test_certificate_without_a_key_is_distinguished_from_an_answer_without_credentials():
    output = micropython.run("""
from firstboot import credentials
from firstboot.errors import ProtocolError
for kind in ("X509_CERTIFICATE", "NONE"):
    try:
        credentials.from_answer({"credentialsType": kind, "credentialsValue": "AAAA"}, [])
    except ProtocolError as error:
        print(error)
""")
    assert ["whose key is not on this board" in line for line in output.splitlines()] == [True, False]


def test_certificate_of_nothing_is_none():
    """`null` must not find the credentials that have no certificate."""
    held = ({"type": "ACCESS_TOKEN", "token": "t"},)
    assert taken(
        [{"credentialsType": "X509_CERTIFICATE"}, {"credentialsType": "X509_CERTIFICATE", "credentialsValue": None}],
        held,
    ) == [None, None]


def test_login_follows_the_credential():
    basic = {"type": "MQTT_BASIC", "clientId": "c", "userName": "u", "password": "p"}
    logins = [
        (KINDS["token"][0], ["press4", "t", "", None]),
        (basic, ["c", "u", "p", None]),
        ({**basic, "clientId": ""}, ["press4", "u", "p", None]),
        ({**basic, "userName": "", "password": ""}, ["c", "", "", None]),
        (KINDS["certificate"][0], ["press4", "", "", "000000 041041"]),
    ]
    output = micropython.run(f"""
import binascii, json
from firstboot import credentials
for credential in {[each for each, _ in logins]!r}:
    client_id, user, password, pair = credentials.login(credential, "press4")
    print(json.dumps([client_id, user, password, pair and " ".join(binascii.hexlify(part).decode() for part in pair)]))
""")
    assert [json.loads(line) for line in output.splitlines()] == [login for _, login in logins]
