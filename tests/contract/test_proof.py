"""Proofs are the same on the board, on the server and in the contract."""

import json

import pytest

from bench.contract.proof import COVERED, claim_secret, proof
from bench.registry.device_secrets import is_valid_proof
from bench.server import device_json
from tests.support import micropython

PROFILE_SECRET, NAME, NONCE = "the profile's secret", "press \u2116 4", "0123456789ab-" + "c" * 64
SECRET = claim_secret(PROFILE_SECRET, NAME)
REQUESTS = {
    "nothing_asked": {"deviceName": NAME, "credentialsType": "ACCESS_TOKEN"},
    "token": {"deviceName": NAME, "credentialsType": "ACCESS_TOKEN", "token": "a token"},
    "all": {"credentialsType": "MQTT_BASIC", **{each: f"the {each}" for each in COVERED if each != "credentialsType"}},
    "certificate": {"deviceName": NAME, "credentialsType": "X509_CERTIFICATE", "hash": "MII\nB"},
}


def of_contract(request):
    return proof(SECRET, [NONCE, *(request.get(field, "") for field in COVERED)])


def test_firmware_covers_the_fields_of_the_contract():
    output = micropython.run("import json\nfrom firstboot import proof\nprint(json.dumps(proof._COVERED))")
    assert tuple(json.loads(output)) == COVERED


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_firmware_proves_as_the_contract_does(request_):
    output = micropython.run(f"from firstboot import proof\nprint(proof.make({SECRET!r}, {NONCE!r}, {request_!r}))")
    assert output.strip() == of_contract(request_)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_server_reads_the_fields_that_the_contract_covers_in_its_order(request_):
    sent = {"provisionDeviceKey": "k", "provisionDeviceSecret": "", "provisionDeviceNonce": NONCE, **request_}
    read = device_json.read_request(json.dumps(sent).encode())
    assert is_valid_proof(PROFILE_SECRET, NAME, read.proven, of_contract(request_))
    assert proof(SECRET, read.proven) == of_contract(request_)
