"""Names, waits, answers and event lines: the small decisions."""

import json

import pytest

from tests.support import micropython

SETTINGS = """
from firstboot import settings as checked
def make(**identity):
    return checked.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"}, "identity": identity,
        "backoff": {"base_ms": 100, "cap_ms": 1000, "long_ms": 60000}})
"""


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ({}, "firstboot-0242ac110002"),
        ({"prefix": "press"}, "press-0242ac110002"),
        ({"prefix": "", "name": "{mac}"}, "0242ac110002"),
        ({"mac": "AA:BB:CC:DD:EE:FF"}, "firstboot-aabbccddeeff"),
        ({"name": "  press 4 "}, "press 4"),
    ],
)
def test_name_follows_the_template(identity, name):
    code = f"{SETTINGS}\nfrom firstboot import identity\nprint(identity.name(make(**{identity!r}), '0242ac110002'))"
    assert micropython.run(code) == f"{name}\n"


@pytest.mark.parametrize("template", ["{serial}", "{", "   ", "x" * 256, "{prefix}-{mac}}"])
def test_name_of_no_use_is_refused(template):
    output = micropython.run(f"""{SETTINGS}
from firstboot import identity
from firstboot.errors import SettingsError
try:
    print("accepted", identity.name(make(name={template!r}), "0242ac110002"))
except SettingsError as error:
    print("refused", error)
""")
    assert output.startswith("refused identity.name")


def test_backoff_is_full_jitter_below_a_doubling_ceiling():
    output = micropython.run(f"""{SETTINGS}
from firstboot.backoff import Backoff
waits = []
for _ in range(300):
    backoff = Backoff(make())
    waits.append([backoff.next() for _ in range(8)])
    backoff.reset()
    assert backoff.attempt == 0 and backoff.next() <= 100
print([min(column) for column in zip(*waits)])
print([max(column) for column in zip(*waits)])
longs = [backoff.long() for _ in range(300)]
print([min(longs), max(longs)])
""")
    least, most, longs = map(json.loads, output.splitlines())
    for attempt, (low, high) in enumerate(zip(least, most, strict=True)):
        ceiling = min(1000, 100 << attempt)
        assert low < ceiling * 0.1
        assert ceiling * 0.9 < high <= ceiling
    assert 30_000 <= longs[0] < 33_000
    assert 57_000 < longs[1] <= 60_000


@pytest.mark.parametrize(("hint", "width"), [(0, 100), (50, 100), (100, 100), (5000, 5000), (120_000, 120_000)])
def test_hint_of_the_server_is_kept_and_the_herd_that_got_it_is_scattered(hint, width):
    """Never earlier than asked for; then evenly over as long again, or over the usual ceiling if that is larger."""
    output = micropython.run(f"""{SETTINGS}
from firstboot.backoff import Backoff
print([Backoff(make()).next({hint}) for _ in range(1000)])
""")
    waits = json.loads(output)
    assert hint <= min(waits)
    assert max(waits) <= hint + width
    quarters = [0] * 4
    for wait in waits:
        quarters[min((wait - hint) * 4 // (width + 1), 3)] += 1
    assert all(250 - 6 * 14 < each < 250 + 6 * 14 for each in quarters)  # six times the deviation


BAD_ANSWERS = {
    "empty": b"",
    "not_json": b"<html>",
    "not_utf8": b"\xff\xfe",
    "truncated": b'{"status":"SUCC',
    "null": b"null",
    "list": b'["SUCCESS"]',
    "no_status": b'{"credentialsValue":"s3cret","credentialsType":"ACCESS_TOKEN"}',
    "status_of_another_type": b'{"status":1}',
    "unknown_status": b'{"status":"UNKNOWN"}',
    "no_credentials": b'{"status":"SUCCESS"}',
    "empty_token": b'{"status":"SUCCESS","credentialsType":"ACCESS_TOKEN","credentialsValue":""}',
    "token_object": b'{"status":"SUCCESS","credentialsType":"ACCESS_TOKEN","credentialsValue":{"s3cret":1}}',
    "long_token": b'{"status":"SUCCESS","credentialsType":"ACCESS_TOKEN","credentialsValue":"'
    + b"s3cret" * 100
    + b'"}',
    "type_of_no_use": b'{"status":"SUCCESS","credentialsType":{"s3cret":1},"credentialsValue":"x"}',
    "another_type": b'{"status":"SUCCESS","credentialsType":"X509_CERTIFICATE","credentialsValue":"s3cret"}',
}


@pytest.mark.parametrize("payload", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_answer_that_is_none_is_garbage(payload):
    output = micropython.run(f"""
from firstboot import credentials, provisioning
from firstboot.errors import ProtocolError
try:
    status, answer = provisioning.read_answer({payload!r})
    print("accepted", credentials.from_answer(answer, []))
except ProtocolError as error:
    print("refused", error)
""")
    assert output.startswith("refused")
    assert "s3cret" not in output


@pytest.mark.parametrize("status", ["SUCCESS", "NOT_FOUND", "FAILURE", "NONCE"])
def test_answer_is_read(status):
    output = micropython.run(f"""
from firstboot import provisioning
print(provisioning.read_answer(b'{{"errorMsg":"no","status":"{status}"}}')[0])
""")
    assert output.strip() == status


# What the server gave, what the board holds, and which credential that makes.
CERTIFICATE = {"type": "X509_CERTIFICATE", "certificate": "AAAA", "key": "BBBB"}
GIVEN = {
    "token": ({"credentialsType": "ACCESS_TOKEN", "credentialsValue": "t"}, {"type": "ACCESS_TOKEN", "token": "t"}),
    "basic": (
        {"credentialsType": "MQTT_BASIC", "credentialsValue": {"clientId": "c", "userName": "u", "password": "p"}},
        {"type": "MQTT_BASIC", "clientId": "c", "userName": "u", "password": "p"},
    ),
    "basic_with_nulls": (
        {"credentialsType": "MQTT_BASIC", "credentialsValue": {"clientId": "c", "userName": None, "password": None}},
        {"type": "MQTT_BASIC", "clientId": "c", "userName": "", "password": ""},
    ),
    "certificate": ({"credentialsType": "X509_CERTIFICATE", "credentialsValue": "AAAA"}, CERTIFICATE),
}


@pytest.mark.parametrize(("answer", "credential"), GIVEN.values(), ids=GIVEN.keys())
def test_credential_is_taken_from_an_answer(answer, credential):
    output = micropython.run(f"""
import json
from firstboot import credentials
print(json.dumps(credentials.from_answer({answer!r}, [{CERTIFICATE!r}])))
""")
    assert json.loads(output) == credential


def test_request_has_the_credential_that_was_made():
    output = micropython.run("""
import json
from firstboot import credentials
made = [credentials.make(kind, "press4") for kind in ("ACCESS_TOKEN", "MQTT_BASIC")]
print(json.dumps([made, [credentials.request_fields(each) for each in made]]))
""")
    (token, basic), (requested_token, requested_basic) = json.loads(output)
    assert requested_token == {"credentialsType": "ACCESS_TOKEN", "token": token["token"]}
    assert requested_basic == {
        "credentialsType": "MQTT_BASIC",
        "clientId": "press4",
        "username": "press4",
        "password": basic["password"],
    }


@pytest.mark.parametrize(("kind", "field"), [("ACCESS_TOKEN", "token"), ("MQTT_BASIC", "password")])
def test_secret_made_by_the_device_is_random(kind, field):
    output = micropython.run(f"""
from firstboot import credentials
made = [credentials.make("{kind}", "press4")["{field}"] for _ in range(200)]
assert len(set(made)) == 200
print(made[0])
""")
    assert len(bytes.fromhex(output)) == 16


def test_event_is_one_json_line_whatever_is_in_it():
    output = micropython.run(r"""
from firstboot import events
events.emit("offline", detail='quote " backslash \\ newline \n', list=[1, None])
""")
    assert output.count("\n") == 1
    event = json.loads(output)
    assert list(event)[:2] == ["event", "ms"]
    assert event["detail"] == 'quote " backslash \\ newline \n'


def test_uptime_goes_on_when_the_tick_counter_wraps():
    micropython.run("""
import time
from firstboot import events
period = time.ticks_add(0, -1) + 1
now = [period - 1000]
class Clock:
    ticks_diff = staticmethod(time.ticks_diff)
    ticks_ms = staticmethod(lambda: now[0])
events.time = Clock
events._last, events._uptime_ms = now[0], 5
for step in range(10):
    now[0] = (now[0] + 250) % period
    assert events.uptime_ms() == 5 + 250 * (step + 1)
""")
