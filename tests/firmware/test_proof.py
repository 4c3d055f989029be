"""HMAC, and the proof of a provisioning request."""

import hashlib
import hmac
import random

import pytest

from bench.contract.proof import derived_token
from tests.support import micropython

# RFC 4231, 4.2 to 4.8: key, message, HMAC-SHA-256. The fifth is cut off after 128 bits.
VECTORS = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        (
            b"This is a test using a larger than block-size key and a larger than block-size data. "
            b"The key needs to be hashed before being used by the HMAC algorithm."
        ),
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]

SECRET = hashlib.sha256(b"claim").hexdigest()
FIELDS = ("deviceName", "credentialsType", "token", "clientId", "username", "password", "hash")


def codes(pairs):
    """HMAC-SHA-256 of these keys and messages, by the device."""
    return micropython.run(f"""
import binascii
from firstboot.proof import hmac_sha256
for key, message in {pairs!r}:
    print(binascii.hexlify(hmac_sha256(key, message)).decode())
""").split()


def proofs(*requests):
    """The proofs of these requests with the nonce `n`, by the device."""
    code = f"from firstboot import proof\nfor each in {requests!r}: print(proof.make({SECRET!r}, 'n', each))"
    return micropython.run(code).split()


def expected(*lines):
    return hmac.new(SECRET.encode(), "\n".join(lines).encode(), "sha256").hexdigest()


def test_token_is_that_which_the_server_computes_whatever_its_bytes():
    names = [f"press-{n}" for n in range(64)]  # all 64 characters of base64url are among them
    code = f"from firstboot import proof\nfor name in {names!r}: print(proof.token({SECRET!r}, name)['token'])"
    found = micropython.run(code).split()
    assert found == [derived_token(SECRET, name) for name in names]
    assert {"-", "_"} < set("".join(found))


def test_hmac_is_that_of_rfc_4231():
    found = codes([(key, message) for key, message, _ in VECTORS])
    assert [code[: len(vector[2])] for code, vector in zip(found, VECTORS, strict=True)] == [
        each[2] for each in VECTORS
    ]


def test_hmac_of_keys_and_messages_of_any_length():
    source = random.Random(4)
    pairs = [(source.randbytes(length), source.randbytes(length * 7 % 150)) for length in range(131)]
    assert codes(pairs) == [hmac.new(key, message, "sha256").hexdigest() for key, message in pairs]


def test_proof_covers_what_is_requested_in_this_order():
    request = {field: f"the {field}" for field in reversed(FIELDS)}
    assert proofs(request) == [expected("n", *(f"the {field}" for field in FIELDS))]


@pytest.mark.parametrize("request_", [{}, {"credentialsType": ""}, {"credentialsType": "ACCESS_TOKEN"}])
def test_proof_of_what_is_absent_is_that_of_what_is_empty(request_):
    assert proofs({"deviceName": "zoë 設備", **request_}) == [
        expected("n", "zoë 設備", "ACCESS_TOKEN", "", "", "", "", "")
    ]


def test_proof_does_not_cover_the_keys_of_the_profile():
    request = {"deviceName": "d", "provisionDeviceKey": "k", "provisionDeviceSecret": "", "provisionDeviceNonce": "n"}
    assert proofs(request) == proofs({"deviceName": "d"})


def test_proof_changes_with_every_field():
    requests = [{}] + [{field: "x"} for field in FIELDS]
    assert len(set(proofs(*requests))) == len(requests)
