"""The provisioning exchange: its requests, in plain or with a proof, and the meaning of its answers.

Malformed answers, and the credentials in good ones: test_decisions.py and test_credentials.py.
"""

import hashlib
import hmac
import json

import pytest

from tests.support import micropython

OWN = {
    "nothing": None,
    "token": {"type": "ACCESS_TOKEN", "token": "t"},
    "basic": {"type": "MQTT_BASIC", "clientId": "c", "userName": "u", "password": "p"},
    "certificate": {"type": "X509_CERTIFICATE", "certificate": "AAAA", "key": "BBBB"},
}
# The fields of the request for them (ThingsBoard's names).
FIELDS = {
    "nothing": {},
    "token": {"credentialsType": "ACCESS_TOKEN", "token": "t"},
    "basic": {"credentialsType": "MQTT_BASIC", "clientId": "c", "username": "u", "password": "p"},
    "certificate": {"credentialsType": "X509_CERTIFICATE", "hash": "AAAA"},
}
every_own = pytest.mark.parametrize("own", OWN)
GIVEN = {"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "given"}
NONCE = {"status": "NONCE", "nonce": "n0nce"}


def exchanged(*answers, own=None, held=(), proof=False):
    """Return the requests to a server that gives these answers one after the other, and the outcome."""
    output = micropython.run(f"""
import json
from firstboot import provisioning, settings
from firstboot.errors import FirstbootError
PROVISION = {{"key": "k", "secret": "s3cret", "proof": {proof}}}
SETTINGS = settings.check({{"server": {{"host": "h"}}, "provision": PROVISION}})
answers = {[json.dumps(answer) for answer in answers]!r}
requests = []
def exchange(settings, name, request):
    assert settings is SETTINGS and name == "press4"
    requests.append(json.loads(request))
    return answers.pop(0).encode()
provisioning._exchange = lambda transport: exchange
try:
    outcome = provisioning.request(SETTINGS, "press4", {own!r}, {list(held)!r})
except FirstbootError as error:
    assert str(error) and "s3cret" not in str(error)
    outcome = error.kind
print(json.dumps([requests, outcome]))
""")
    return json.loads(output)


def test_transport_is_the_one_of_the_settings():
    micropython.run("""
from firstboot import provisioning
from firstboot.transports import coap, http, mqtt
for name, transport in (("mqtt", mqtt), ("http", http), ("coap", coap)):
    assert provisioning._exchange(name) == transport.exchange
transports = []
provisioning._exchange = lambda transport: transports.append(transport) or (lambda *_: b'{"status": "FAILURE"}')
from firstboot import settings
for name in ("mqtt", "http", "coap"):
    made = settings.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s", "transport": name}})
    provisioning.request(made, "press4", None, [])
assert transports == ["mqtt", "http", "coap"]
""")


@every_own
def test_request_brings_the_secret_and_what_is_requested(own):
    (request,), outcome = exchanged(GIVEN, own=OWN[own])
    assert request == {
        "deviceName": "press4",
        "provisionDeviceKey": "k",
        "provisionDeviceSecret": "s3cret",
        **FIELDS[own],
    }
    assert outcome == ["SUCCESS", {"type": "ACCESS_TOKEN", "token": "given"}]


def test_certificate_that_is_given_is_the_one_that_is_held():
    answer = {"status": "SUCCESS", "credentialsType": "X509_CERTIFICATE", "credentialsValue": "AAAA"}
    certificate = OWN["certificate"]
    assert exchanged(answer, own=certificate, held=[OWN["token"], certificate])[1] == ["SUCCESS", certificate]
    assert exchanged(answer, own=certificate)[1] == "garbage"


@pytest.mark.parametrize("status", ["NOT_FOUND", "FAILURE"])
@pytest.mark.parametrize("more", [{}, {"credentialsType": "ACCESS_TOKEN", "credentialsValue": "given"}])
def test_answer_that_is_no_success_gives_no_credential(status, more):
    assert exchanged({"status": status, **more}, own=OWN["token"])[1] == [status, None]


def test_success_without_credentials_is_garbage():
    assert exchanged({"status": "SUCCESS"}, own=OWN["token"])[1] == "garbage"


@pytest.mark.parametrize("answers", [(NONCE,), (NONCE, NONCE)], ids=["plain", "proof"])
def test_nonce_that_was_not_requested_is_garbage(answers):
    requests, outcome = exchanged(*answers, own=OWN["token"], proof=len(answers) == 2)
    assert outcome == "garbage"
    assert len(requests) == len(answers)


@every_own
def test_proof_is_sent_instead_of_the_secret(own):
    (nonce_request, request), outcome = exchanged(NONCE, GIVEN, own=OWN[own], proof=True)
    assert nonce_request == {
        "deviceName": "press4",
        "provisionDeviceKey": "k",
        "provisionDeviceSecret": "",
        "proof": "nonce",
    }
    fields = FIELDS[own]
    covered = ["n0nce", "press4", fields.get("credentialsType", "ACCESS_TOKEN")]
    covered += [fields.get(name, "") for name in ("token", "clientId", "username", "password", "hash")]
    assert request == {
        "deviceName": "press4",
        "provisionDeviceKey": "k",
        "provisionDeviceSecret": "",
        "provisionDeviceNonce": "n0nce",
        "provisionDeviceProof": hmac.digest(b"s3cret", "\n".join(covered).encode(), hashlib.sha256).hex(),
        **fields,
    }
    assert outcome == ["SUCCESS", {"type": "ACCESS_TOKEN", "token": "given"}]


BAD_NONCES = {
    "not_found": ({"status": "NOT_FOUND"}, "not_found"),
    "not_found_with_a_nonce": ({"status": "NOT_FOUND", "nonce": "n0nce"}, "not_found"),
    "success": (GIVEN, "garbage"),
    "success_with_a_nonce": ({**GIVEN, "nonce": "n0nce"}, "garbage"),
    "failure": ({"status": "FAILURE"}, "garbage"),
    "failure_with_a_nonce": ({"status": "FAILURE", "nonce": "n0nce"}, "garbage"),
    "no_nonce": ({"status": "NONCE"}, "garbage"),
    "nonce_of_another_type": ({"status": "NONCE", "nonce": 1}, "garbage"),
    "no_object": ([], "garbage"),
}


@pytest.mark.parametrize(("answer", "kind"), BAD_NONCES.values(), ids=BAD_NONCES)
def test_proof_is_not_sent_without_a_nonce(answer, kind):
    requests, outcome = exchanged(answer, GIVEN, own=OWN["token"], proof=True)
    assert len(requests) == 1
    assert outcome == kind


def test_answer_is_given_whole():
    """Exactly the statuses that are part of the protocol, whatever else is in the answer."""
    output = micropython.run("""
import json
from firstboot import provisioning
from firstboot.errors import ProtocolError
answer = {"status": "SUCCESS", "nonce": "n", "other": [1]}
for status in ("SUCCESS", "NOT_FOUND", "FAILURE", "NONCE"):
    answer["status"] = status
    assert provisioning.read_answer(json.dumps(answer).encode()) == (status, answer)
for raw in (b"", b"12", b"<html>", b"\\xff\\xfe\\xfd", b"[]", b"null", b"{}", b'{"status": null}',
            b'{"status": "success"}', b'{"status": ["SUCCESS"]}'):
    try:
        provisioning.read_answer(raw)
        assert False, raw
    except ProtocolError as error:
        print(error)
""")
    assert "is not JSON (0 bytes)" in output
    assert "is not JSON (6 bytes)" in output
    assert len(set(output.splitlines())) == 5


@pytest.mark.parametrize("payload", [b"[" * 33 + b"]" * 33, b"{}," * 5000])
def test_answer_that_needs_too_much_memory_is_not_parsed(payload):
    output = micropython.run(f"""
from firstboot import provisioning
from firstboot.errors import ProtocolError
try:
    provisioning.read_answer({payload!r})
except ProtocolError as error:
    print(error)
""")
    assert output.strip() == f"the answer is too large, or nested too deep ({len(payload)} bytes)"


PORTS = {"mqtt": 1883, "http": 8080, "coap": 5683}


@pytest.mark.parametrize("transport", PORTS)
def test_error_names_the_port_for_provisioning_once_and_keeps_its_wait(transport):
    output = micropython.run(f"""
from firstboot import provisioning, settings
from firstboot.errors import NetworkError, Timeout
errors = [Timeout("no answer"), NetworkError("nothing listens at h, port 5"), NetworkError("busy")]
errors[-1].retry_ms = 7
def exchange(*_):
    raise errors.pop(0)
provisioning._exchange = lambda _: exchange
way = {{"key": "k", "secret": "s", "transport": "{transport}"}}
made = settings.check({{"server": {{"host": "h"}}, "provision": way}})
while errors:
    try:
        provisioning.request(made, "press4", None, [])
    except NetworkError as error:
        print(error.kind, error.retry_ms, error)
""")
    where = f"h, port {PORTS[transport]}"
    assert output.splitlines() == [
        f"timeout 0 {where}: no answer",
        "network 0 nothing listens at h, port 5",
        f"network 7 {where}: busy",
    ]
