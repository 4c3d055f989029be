"""The curve: multiples of the base point, nonces, signatures."""

import hashlib
import json
import random

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support import micropython

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SHA256 = Prehashed(hashes.SHA256())
# The time of an ESP32 for each modular multiplication of 256 bits and all around it, microseconds: a key and its
# certificate took 1.5 s (MicroPython 1.25, emulated at 160 MHz). The multiplication alone takes 32.
MULTIPLICATION_US = 136

PREAMBLE = """
import binascii, json
from firstboot import p256
def feed(): pass
def tell(what): print(json.dumps(what))
def public(key): return binascii.hexlify(p256.public(key, feed)).decode()
"""

# Private keys, and x of the public ones: the curve's published test vectors.
KNOWN = {
    1: "6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296",
    2: "7CF27B188D034F7E8A52380304B51AC3C08969E277F21B35A60B48FC47669978",
    3: "5ECBE4D1A6330A44C8F7EF951D4BF165E6C6B721EFADA985FB41661BC6E7FD6C",
    4: "E2534A3532D08FBBA02DDE659EE62BD0031FE2DB785596EF509302446B030852",
    5: "51590B7A515140D2D784C85608668FDFEF8C82FD1F5BE52421554A0DC3D033ED",
    112233445566778899: "339150844EC15234807FE862A86BE77977DBFB3AE3D96F4C22795513AEAAB82F",
    N - 2: "7CF27B188D034F7E8A52380304B51AC3C08969E277F21B35A60B48FC47669978",
    N - 1: "6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296",
}

# RFC 6979, A.2.5, with SHA-256
RFC_KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC_PUBLIC = (
    "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
RFC_SIGNATURES = {
    "sample": (
        0xA6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60,
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    "test": (
        0xD16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0,
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
}


def run(code):
    """Return the values that the code reported, in order."""
    return [json.loads(line) for line in micropython.run(PREAMBLE + code).splitlines()]


def reference(key):
    return ec.derive_private_key(key, ec.SECP256R1())


def encoded(key):
    return reference(key).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()


def keys(count, seed):
    source = random.Random(seed)
    return [source.randrange(1, N) for _ in range(count)]


# Keys.


def test_random_numbers_that_are_no_keys_are_passed_over():
    bad = [0, N, N + 1, 2**256 - 1]
    for good in (1, N - 1):
        found = run(f"""
drawn = [number.to_bytes(32, "big") for number in {[*bad, good]}]
class Source: urandom = staticmethod(lambda count: drawn.pop(0))
p256.os = Source
tell([str(p256.make_key()), len(drawn)])
""")
        assert found == [[str(good), 0]]


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_random_source_that_is_stuck_makes_no_key(byte):
    found = run(f"""
class Source: urandom = staticmethod(lambda count: bytes([{byte}] * count))
p256.os = Source
try:
    tell(str(p256.make_key()))
except ArithmeticError as error:
    tell(["refused", str(error)])
""")
    assert found == [["refused", "the random source gives no random numbers"]]


def test_keys_are_random():
    made = {int(key) for key in run("for _ in range(500): tell(str(p256.make_key()))")}
    assert len(made) == 500
    assert all(0 < key < N for key in made)
    for bit in range(256):
        assert 150 < sum(key >> bit & 1 for key in made) < 350, bit  # nine standard deviations


# Points.


def test_public_keys_that_are_known():
    found = run(f"for key in {list(KNOWN)}: tell(public(key))")
    assert [point[:66] for point in found] == ["04" + x.lower() for x in KNOWN.values()]
    assert len(set(found)) == len(KNOWN)  # opposite points differ in y
    assert run(f"tell(public({RFC_KEY}))") == [RFC_PUBLIC]


def test_public_keys_at_every_edge():
    edges = {
        *range(1, 40),
        *range(N - 40, N),
        *(1 << bit for bit in range(256)),
        *((1 << bit) - 1 for bit in range(1, 256)),
        *(N >> bit for bit in range(1, 256, 5)),
    }
    chosen = sorted(edges)
    assert run(f"for key in {chosen}: tell(public(key))") == [encoded(key) for key in chosen]


def test_sums_that_meet_infinity_or_the_same_point():
    """The cases in which the formula for two different points has no answer."""
    points = {1: "p256._BASE", -1: "(p256._BASE[0], p256._P - p256._BASE[1])"}
    cases = [
        (u, v, sign)
        for sign in points
        for u in (0, 1, 2, 3, 128, 255, N - 1, N)
        for v in (0, 1, 2, 3, 128, 255, N - 1, N)
    ]
    calls = ", ".join(f"({u}, {v}, {points[sign]})" for u, v, sign in cases)
    found = run(f"""
for u, v, point in ({calls}):
    x, y = p256._sum(u.to_bytes(32, "big"), p256._BASE, v.to_bytes(32, "big"), point, feed)
    tell(binascii.hexlify(x.to_bytes(32, "big") + y.to_bytes(32, "big")).decode())
""")
    sums = [(u + sign * v) % N for u, v, sign in cases]
    assert 0 in sums
    assert found == [encoded(total)[2:] if total else "00" * 64 for total in sums]


# Signatures.


@pytest.mark.parametrize("message", RFC_SIGNATURES)
def test_signature_is_that_of_rfc_6979(message):
    digest = hashlib.sha256(message.encode()).digest()
    nonce, r, s = RFC_SIGNATURES[message]
    found = run(f"""
used = []
times_base = p256._times_base
def spy(number, feed):
    used.append(number)
    return times_base(number, feed)
p256._times_base = spy
tell([str(part) for part in p256.sign({RFC_KEY}, {digest!r}, feed)])
tell([str(nonce) for nonce in used])
""")
    assert found == [[str(r), str(s)], [str(nonce)]]


def test_signatures_of_any_key_and_digest_are_what_openssl_makes(report):
    source = random.Random(6979)
    digests = [bytes(32), b"\xff" * 32, N.to_bytes(32, "big"), (N - 1).to_bytes(32, "big")]
    digests += [source.randbytes(32) for _ in range(146)]
    pairs = list(zip([1, 2, N - 1, N - 2, *keys(146, 1)], digests, strict=True))
    found = run(f"""
for key, digest in {pairs!r}:
    r, s = p256.sign(key, digest, feed)
    point = p256.public(key, feed)
    tell([str(r), str(s), p256.verify(point, digest, r, s, feed), binascii.hexlify(point).decode()])
""")
    for (key, digest), (r, s, verified, point) in zip(pairs, found, strict=True):
        own = reference(key)
        own.public_key().verify(encode_dss_signature(int(r), int(s)), digest, ec.ECDSA(SHA256))
        made = decode_dss_signature(own.sign(digest, ec.ECDSA(SHA256, deterministic_signing=True)))
        assert ((int(r), int(s)), verified, point) == (made, True, encoded(key))
    report(f"{len(pairs)} P-256 keys and signatures made by device code are, bit by bit, those of OpenSSL")


def test_signatures_made_elsewhere_verify():
    signed = []
    for key in [1, N - 1, *keys(20, 2)]:
        digest = hashlib.sha256(str(key).encode()).digest()
        r, s = decode_dss_signature(reference(key).sign(digest, ec.ECDSA(SHA256)))
        signed.append((bytes.fromhex(encoded(key)), digest, r, s))
    assert run(f"for each in {signed!r}: tell(p256.verify(*each, feed))") == [True] * len(signed)


def test_signature_with_anything_changed_does_not_verify():
    digest = hashlib.sha256(b"sample").digest()
    _, r, s = RFC_SIGNATURES["sample"]
    good = (bytes.fromhex(RFC_PUBLIC), digest, r, s)

    def flipped(raw, at):
        return raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]

    changed = [
        (good[0], digest, *wrong) for wrong in [(0, 0), (0, s), (r, 0), (N, s), (r, N), (r + N, s), (r, s + N), (s, r)]
    ]
    changed += [(flipped(good[0], at), *good[1:]) for at in range(1, 65)]
    changed += [(good[0], flipped(digest, at), r, s) for at in range(32)]
    changed += [(good[0], digest, r ^ 1 << bit, s) for bit in range(0, 256, 7)]
    changed += [(good[0], digest, r, s ^ 1 << bit) for bit in range(0, 256, 7)]
    found = run(f"for each in {[good, *changed]!r}: tell(p256.verify(*each, feed))")
    assert found == [True] + [False] * len(changed)


def test_watchdog_is_fed_several_times_a_second_of_an_esp32(report):
    """Counts the modular multiplications between two calls of `feed`, as the ESP32's time."""
    gaps = run("""
gaps, count = [], [0]
def feed():
    gaps.append(count[0])
    count[0] = 0
def counting(function, cost):
    def run(*arguments):
        count[0] += cost(arguments)
        return function(*arguments)
    return run
def squarings_and_products(arguments):
    bits = bin(arguments[1])[2:]
    return len(bits) + bits.count("1")
p256._double = counting(p256._double, lambda arguments: 8)
p256._add = counting(p256._add, lambda arguments: 11)
p256.pow = counting(pow, squarings_and_products)
for key in [1, 2 ** 256 - 1 - (1 << 250)] + [p256.make_key() for _ in range(5)]:
    for digest in (b"\\x00" * 32, b"\\xfe" * 32):
        point = p256.public(key, feed)
        assert p256.verify(point, digest, *p256.sign(key, digest, feed), feed)
feed()
tell([max(gaps), sum(gaps) // 14])
""")
    longest, whole = (number * MULTIPLICATION_US / 1000 for number in gaps[0])
    assert longest < 250  # the shortest watchdog is one of 30 s
    report(
        f"a key and its certificate are {gaps[0][1]} modular multiplications, {whole:.0f} ms of an ESP32; "
        f"the watchdog is fed every {longest:.0f} ms or more often"
    )
